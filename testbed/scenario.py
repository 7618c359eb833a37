"""The experiment file: strict model, overrides, and the hash that names a run.

Every default stands here, once, with its reason. A key that would do nothing is refused, never ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.events import Event, unknown_nodes
from testbed.hardware import Hardware
from testbed.models.devices import NATIVE
from testbed.models.outcomes import RECORDED, Outcomes
from testbed.network.options import NetworkOptions
from testbed.policies import registry
from testbed.policies.spec import PolicySpec
from testbed.reading import shown
from testbed.settings import assign
from testbed.strict import Strict, not_finite
from testbed.workload.arrivals import Arrivals
from testbed.yamlfile import Mistake, complaints, explain, load_yaml, problem, problems, raise_mistakes, refuse
from testbed.yamltext import Lines, parse
from testbed.yamltext import Place as At

MAX_NODES = 2000  # in virtual time
MAX_EMULATED_NODES = 250  # addresses of one /24, and far more than two cores can run


def _file_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError("it names files: write letters, digits, '.', '_' and '-', at most 100, no sign first")
    return text


FileName = Annotated[str, AfterValidator(_file_name)]


class SamplingOptions(Strict):
    """How the target chooses tokens; greedy unless a temperature is given."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    def with_seed(self, seed: int) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, seed)


SloRate = Annotated[float, Field(gt=0, le=10_000)]


class Workload(Strict):
    prompts: str
    requests: Annotated[int, Field(ge=1, le=100_000)]
    output_tokens: Annotated[int, Field(ge=1, le=4096)] = 100  # as in the WANSpec paper
    arrivals: Arrivals = "sequential"
    sampling: SamplingOptions = SamplingOptions()
    ignore_eos: bool = False
    # token rate promised to users: to all, or in turn to user 0, 1, 2, ...; a class listed twice has twice as many
    slo_tokens_per_s: SloRate | Annotated[list[SloRate], Field(min_length=1)] | None = None

    @property
    def slo_classes(self) -> list[float | None]:
        """The promise of user i is entry i, modulo the length."""
        given = self.slo_tokens_per_s
        return [*given] if isinstance(given, list) else [given]


class Models(Strict):
    target: str
    draft: str


class Devices(Strict):
    """`drafter` paces the draft model wherever it runs, at the drafter's site and at the target's."""

    target: str = NATIVE
    drafter: str = NATIVE


# bounded before anything is expanded: a count of 10^12 would be as many names
Sites = str | dict[str, Annotated[int, Field(ge=1, le=MAX_NODES)]] | Annotated[list[str], Field(max_length=MAX_NODES)]


class Place(Strict):
    """Where the roles run: a site, a list of sites, or how many at each site."""

    user: Sites
    target: Sites
    drafter: Sites | None = None

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        nodes = sum(_count(sites) for sites in (self.user, self.target, self.drafter))
        if nodes > MAX_NODES:
            raise problem((), f"place: {nodes} nodes are more than the {MAX_NODES} of one network; place fewer")
        return self

    def nodes(self) -> dict[str, tuple[str, str]]:
        """Node name to (role, site): user0, user1, target0, drafter0, in this order."""
        nodes: dict[str, tuple[str, str]] = {}
        for role in ("user", "target", "drafter"):
            for index, site in enumerate(_expand(getattr(self, role))):
                nodes[f"{role}{index}"] = (role, site)
        return nodes


def _count(sites: Sites | None) -> int:
    if sites is None:
        return 0
    return 1 if isinstance(sites, str) else sum(sites.values()) if isinstance(sites, Mapping) else len(sites)


def _expand(sites: Sites | None) -> list[str]:
    if sites is None:
        return []
    if isinstance(sites, str):
        return [sites]
    if isinstance(sites, Mapping):
        return [site for site, count in sites.items() for _ in range(count)]
    return list(sites)


class PolicyEntry(Strict):
    """One policy of the experiment: registered name, label in the results, its own parameters."""

    name: str
    label: FileName
    params: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, item: Any) -> Any:
        """`- name` and `- name: {params, label}`; the parameters are checked by the policy."""
        return item if isinstance(item, cls) else _entry(item)


class Scenario(Strict):
    """A resolved experiment."""

    name: FileName
    description: str = ""
    topology: str
    network: NetworkOptions = NetworkOptions()
    workload: Workload
    models: Models
    devices: Devices = Devices()
    outcomes: Outcomes = RECORDED  # what the models really do, unless made-up outcomes are asked for
    place: Place
    policies: Annotated[list[PolicyEntry], Field(min_length=1)]
    compute: dict[str, Hardware] = {}  # by role or node; what emulated nodes run on, nothing in virtual time
    events: list[Event] = []  # of every phase, from its start
    repeats: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        raise_mistakes(self._misfits())
        return self

    def _misfits(self) -> Iterator[Mistake]:
        """What no key says by itself."""
        labels = [entry.label for entry in self.policies]
        roles = {role for role, _ in self.place.nodes().values()}
        for index, entry in enumerate(self.policies):
            at: At = ("policies", index)
            if entry.label in labels[:index]:
                yield Mistake(at, f"two policies are called {entry.label!r}; give one of them a label")
            for role in registry.get(entry.name).roles:
                if role not in roles:
                    yield Mistake(at, f"policy {entry.label!r} needs a {role}; place it under place:")
        if len(_expand(self.place.target)) != 1:
            yield Mistake(("place", "target"), "one target is supported; several need a router in front of them")
        yield from unknown_nodes(self.events, list(self.place.nodes()))
        known = [*roles, *self.place.nodes()]
        for name in self.compute:
            if name not in known:
                yield Mistake(("compute", name), f"compute: no role or node {name!r}; known: {', '.join(known)}")

    def hardware(self, node: str) -> Hardware:
        """Of a node: its own, else its role's, else the defaults."""
        role = self.place.nodes()[node][0]
        return self.compute.get(node) or self.compute.get(role) or Hardware()

    def refuse_emulation(self) -> None:
        """BadInput for more nodes than an emulated network has addresses."""
        nodes = len(self.place.nodes())
        if nodes > MAX_EMULATED_NODES:
            raise BadInput(
                f"place: {nodes} nodes are more than the {MAX_EMULATED_NODES} of one emulated network; place fewer, or "
                "use --engine simulation"
            )

    def resolved(self) -> dict[str, Any]:
        """Plain data, every default filled in: what the manifest keeps and the run id hashes."""
        return self.model_dump(mode="json")


def _entry(item: Any) -> Any:
    if isinstance(item, str):
        item = {item: {}}
    if isinstance(item, dict) and set(item) == {"name", "label", "params"}:  # resolved already: a manifest read back
        name, label, params = item["name"], item["label"], item["params"]
    elif isinstance(item, dict) and len(item) == 1:
        name, params = next(iter(item.items()))
        params = {} if params is None else params
        label = name
        if isinstance(params, dict):
            label = params.get("label", name)
            params = {key: value for key, value in params.items() if key != "label"}
    else:
        raise problem((), "a policy is a name, or one name with its parameters: `- wanspec: {k: 2}`")
    if not isinstance(name, str):
        raise problem((), f"the name of a policy is text; this one is {name!r}")
    try:
        spec = registry.get(name)
    except BadInput as error:
        raise problem((), str(error)) from error
    if not isinstance(params, dict):
        raise problem((name,), f"{name}: parameters are given by name, as in `{name}: {{k: 2}}`; this is {params!r}")
    return {"name": name, "label": label, "params": _params(spec, params)}


def _params(spec: PolicySpec, given: dict[str, Any]) -> dict[str, Any]:
    at: At = (spec.name,)
    try:
        checked = spec.params.model_validate(given)
    except ValidationError as error:
        found = [one._replace(place=(*at, *one.place), text=f"{spec.name}: {one.text}")
                 for one in complaints(error, spec.params)]  # fmt: skip
        raise problems(found) from error
    if (wild := not_finite(checked.model_dump())) is not None:  # JSON would say null
        raise problem((*at, wild), f"{spec.name}: {wild} is not finite; write a number")
    return checked.model_dump(mode="json")


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Reads, overrides (`workload.requests=10`), validates. Raises BadInput in one line."""
    document = read_document(path, overrides)
    if "matrix" in document.data:
        message = "matrix: this file describes many runs; use `testbed sweep`, or remove the matrix to run one"
        refuse(path, document.lines, ("matrix",), message)
    return document.scenario()


@dataclass(frozen=True)
class Document:
    """An experiment file as it stands, with its overrides in place, not yet validated."""

    path: Path
    data: dict[str, Any]
    lines: Lines
    overridden: dict[At, str]  # what set each place that the file did not

    def scenario(self) -> Scenario:
        """Validates. Raises BadInput in one line."""
        try:
            return Scenario.model_validate(self.data)
        except ValidationError as error:
            raise explain(error, self.path, self.lines, Scenario, self.overridden) from error


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Reads and overrides. Raises BadInput in one line."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: an experiment is a mapping with the keys name, topology, workload, ...")
    overridden: dict[At, str] = {}
    for override in overrides:
        place = assign(data, *parse_override(override), f"override {shown(override)}")
        overridden.pop(place, None)  # the order is that of the last override of each place
        overridden[place] = override
    return Document(path, data, lines, overridden)


def parse_override(text: str) -> tuple[str, Any]:
    """Key and value of `key=value`; the value is YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"override {shown(text)}: write key=value, for example workload.requests=10")
    return key, parse(value, f"override {text}", lined=False)[0]


def run_id(resolved: Mapping[str, Any], ingredients: Mapping[str, str]) -> str:
    """Ten hex digits over the resolved scenario and everything else that decides the run: code, models, traces."""
    text = json.dumps({"scenario": resolved, "ingredients": dict(ingredients)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
