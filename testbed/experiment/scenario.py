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

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.experiment.events import Event, unknown_nodes
from testbed.experiment.filepaths import anchored, choices
from testbed.experiment.hardware import Hardware
from testbed.experiment.network import NetworkOptions
from testbed.experiment.overrides import assign
from testbed.files.pyfile import PythonFile
from testbed.files.reading import shown
from testbed.files.strict import NUMBER, REQUESTS, SHARE, TOKENS, TOKENS_PER_S, Strict, Unit, not_finite
from testbed.files.yamlfile import Mistake, complaints, explain, load_yaml, problem, problems, raise_mistakes, refuse
from testbed.files.yamltext import Lines, parse
from testbed.files.yamltext import Place as At
from testbed.models.devices import NATIVE
from testbed.policies import registry
from testbed.policies.spec import PolicySpec
from testbed.tables.outcomes import RECORDED, Outcomes
from testbed.workload.arrivals import Arrivals

FOLDER = "folder"  # of the experiment file, in the context of its validation
RESOLVED = {"name", "label", "params"}
MAX_NODES = 2000  # in virtual time
MAX_EMULATED_NODES = 250  # addresses of one /24, and far more than two cores can run


def _file_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError(
            "it becomes a file name: use letters, digits, '.', '_' and '-', at most 100, starting with a letter or "
            "digit"
        )
    return text


FileName = Annotated[str, AfterValidator(_file_name)]


class SamplingOptions(Strict):
    """How the target chooses tokens; greedy unless a temperature is given."""

    temperature: Annotated[float, NUMBER, Field(ge=0, le=5)] = Field(
        default=0.0, description="sampling temperature; 0: greedy"
    )
    top_k: Annotated[int, TOKENS, Field(ge=0)] = Field(
        default=0, description="sample from this many most likely tokens; 0: from all"
    )
    top_p: Annotated[float, SHARE, Field(gt=0, le=1)] = Field(
        default=1.0, description="sample from the most likely tokens that together have this probability"
    )

    def with_seed(self, seed: int) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, seed)


SloRate = Annotated[float, TOKENS_PER_S, Field(gt=0, le=10_000)]


class Workload(Strict):
    """What the users ask for, and when."""

    prompts: str = Field(
        description="prompt set, by name (a file of workloads/prompts) or path to a .jsonl file", examples=["prose"]
    )
    requests: Annotated[int, REQUESTS, Field(ge=1, le=100_000)] = Field(
        description="requests of all users together, per policy and repeat"
    )
    output_tokens: Annotated[int, TOKENS, Field(ge=1, le=4096)] = Field(
        default=100, description="most output tokens of a request; the default is that of the WANSpec paper"
    )
    arrivals: Arrivals = Field(
        default="sequential",
        description="when requests are sent; sequential: each user sends the next one when the previous one has ended",
        examples=[
            "sequential",
            {"poisson": {"rate_per_s": 0.5}},
            {"closed_loop": {"stagger_s": 5}},
            {"burst": {"rate_per_s": 1, "surges": [{"start_s": 10, "length_s": 5, "rate_per_s": 8}]}},
        ],
    )
    sampling: SamplingOptions = Field(default=SamplingOptions(), description="how the target chooses tokens")
    ignore_eos: bool = Field(default=False, description="true: requests do not stop at the end of text")
    slo_tokens_per_s: SloRate | Annotated[list[SloRate], Field(min_length=1)] | None = Field(
        default=None,
        description="SLO: token rate that users are to get, one for all, or a list that is dealt to user 0, 1, 2, ... "
        "in turn; a class listed twice has twice as many users; null: no SLO",
        examples=[8, [2, 4, 8]],
    )

    @property
    def slo_classes(self) -> list[float | None]:
        """The SLO of user i is entry i, modulo the length."""
        given = self.slo_tokens_per_s
        return [*given] if isinstance(given, list) else [given]


class Models(Strict):
    """The pair: a large model whose output it is, and a small one that drafts for it."""

    target: str = Field(
        description="target model: a shipped one by name (testbed models list), a folder, or a Hugging Face name",
        examples=["tiny-target"],
    )
    draft: str = Field(description="draft model with the same tokenizer", examples=["tiny-draft"])


class Devices(Strict):
    """The hardware that is emulated: results of forward passes are held back until it would have had them."""

    target: str = Field(
        default=NATIVE,
        description="device profile of the target, by name (one of testbed/models/profiles) or path to a .yaml file; "
        "native: passes take what they take here",
        examples=["l40s/llama-3.1-8b"],
    )
    drafter: str = Field(
        default=NATIVE,
        description="device profile of the draft model wherever it runs, at the drafter's site and at the target's",
        examples=["l40s/llama-3.2-1b"],
    )


# bounded before anything is expanded: a count of 10^12 would be as many names
Count = Annotated[int, Unit("nodes"), Field(ge=1, le=MAX_NODES)]
Sites = str | dict[str, Count] | Annotated[list[str], Field(max_length=MAX_NODES)]


class Place(Strict):
    """Where the roles run: a site, a list of sites, or how many at each site."""

    user: Sites = Field(
        description="sites of the users, which send requests",
        examples=["us-east-1", ["us-east-1", "us-east-2"], {"us-east-1": 8}],
    )
    target: Sites = Field(
        description="site of the target model", examples=["us-east-1", ["us-east-1"], {"us-east-1": 1}]
    )
    drafter: Sites | None = Field(
        default=None,
        description="sites of the drafters, for policies that have any",
        examples=["us-east-2", ["us-east-2", "us-west-2"], {"us-east-2": 3}],
    )

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        nodes = sum(_count(sites) for sites in (self.user, self.target, self.drafter))
        if nodes > MAX_NODES:
            raise problem((), f"place: {nodes} nodes exceed the limit of {MAX_NODES} per network; place fewer")
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
    """One policy of the experiment."""

    name: str = Field(description="registered name, or FILE.py:SPEC with a path relative to this file")
    label: FileName = Field(description="what the results call it; the name, if not given")
    params: dict[str, Any] = Field(description="parameters of the policy")
    files: dict[str, str] = Field(
        default={}, description="texts of a policy from a file, by file name; written by the testbed, not by hand"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, item: Any, info: ValidationInfo) -> Any:
        """`- name` and `- name: {params, label}`; the parameters are checked by the policy."""
        return item if isinstance(item, cls) else _entry(item, (info.context or {}).get(FOLDER))

    @model_serializer(mode="wrap")
    def _without_no_files(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = dump(self)
        return found if self.files else {key: value for key, value in found.items() if key != "files"}

    @property
    def spec(self) -> PolicySpec:
        return registry.get(self.name, self.files)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it beside the scenario: the hash of its file in place of the text."""
        found = self.model_dump(mode="json", exclude={"files"})
        return {**found, "sha256": PythonFile(self.files).sha256} if self.files else found


class Scenario(Strict):
    """An experiment: what runs where, on which links, under which policies."""

    name: FileName = Field(
        description="names the run directory: letters, digits, '.', '_' and '-'", examples=["quickstart"]
    )
    description: str = Field(default="", description="for readers")
    topology: str = Field(
        description="topology, by name (testbed topology list), path to a .yaml file, or a Mininet Topo, FILE.py:CLASS",
        examples=["aws-north-america"],
    )
    network: NetworkOptions = Field(
        default=NetworkOptions(), description="what this experiment changes in the topology's links"
    )
    workload: Workload = Field(description="what the users ask for, and when")
    models: Models = Field(description="the pair of models")
    devices: Devices = Field(default=Devices(), description="the hardware that is emulated")
    outcomes: Outcomes = Field(
        default=RECORDED,
        description="what the pair does in simulation: recorded replays a decode table of the models; the other forms "
        "make outcomes up, which cannot be emulated",
        examples=["recorded", {"iid": {"match": 0.8}}, {"drawn": {"table": "tiny-prose"}}],
    )
    place: Place = Field(description="where the roles run")
    policies: Annotated[list[PolicyEntry], Field(min_length=1)] = Field(
        description="the policies to compare: `- name`, or `- name: {parameter: value, label: text}`; label is what "
        "the results call it, needed where a policy is listed twice",
        examples=[["autoregressive", {"speculative": {"k": 2}}, {"wanspec": {"k": 2, "phi": 0.5, "label": "nervous"}}]],
    )
    compute: dict[str, Hardware] = Field(
        default={},
        description="role or node: what it runs on; decides how fast real passes are, never what they compute; ignored "
        "in simulation",
        examples=[{"drafter0": {"cpus": "0-1", "memory": "2GiB"}}],
    )
    events: list[Event] = Field(
        default=[],
        description="links that break, come back or change, and nodes that stop, at times counted from the start of "
        "every policy's run",
        examples=[[{"at_s": 5, "link": ["us-east-1", "us-east-2"], "up": False}, {"at_s": 7, "heal": True}]],
    )
    repeats: Annotated[int, Unit("times"), Field(ge=1, le=1000)] = Field(
        default=1, description="how often every policy runs the workload"
    )
    seed: Annotated[int, NUMBER, Field(ge=0, lt=2**63)] = Field(
        default=0, description="decides every random draw of the experiment"
    )

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
                yield Mistake(at, f"two policies have the label {entry.label!r}; give one of them another label")
            for role in entry.spec.roles:
                if role not in roles:
                    yield Mistake(at, f"policy {entry.label!r} needs a {role}; add it under place:")
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
                f"place: {nodes} nodes exceed the limit of {MAX_EMULATED_NODES} per emulated network; place fewer, "
                "or use --engine simulation"
            )

    def resolved(self) -> dict[str, Any]:
        """Plain data, every default filled in: what the manifest keeps and the run id hashes."""
        return self.model_dump(mode="json")


def _entry(item: Any, folder: Path | None) -> Any:
    """`folder` is that of the experiment file; paths are relative to it."""
    if isinstance(item, str):
        item = {item: {}}
    files, label = {}, None
    if isinstance(item, dict) and RESOLVED <= set(item) <= {*RESOLVED, "files"}:  # a manifest read back
        name, label, params, files = item["name"], item["label"], item["params"], item.get("files", {})
    elif isinstance(item, dict) and len(item) == 1:
        name, params = next(iter(item.items()))
        params = {} if params is None else params
        if isinstance(params, dict):
            label = params.get("label")
            params = {key: value for key, value in params.items() if key != "label"}
    else:
        raise problem((), "a policy is a name, or one name with its parameters: `- wanspec: {k: 2}`")
    if not isinstance(name, str):
        raise problem((), f"a policy's name is text, not {name!r}")
    written = name
    try:
        if files:
            spec = registry.get(name, files)
        else:
            name, files, spec = registry.find(name, folder)
    except BadInput as error:
        raise problem((), str(error)) from error
    if not isinstance(params, dict):
        words = f"{name}: parameters are given by name, as in `{name}: {{k: 2}}`, not {params!r}"
        raise problem((written,), words)
    label = spec.name if label is None else label
    return {"name": name, "label": label, "params": _params((written,), spec, params), "files": files}


def _params(at: At, spec: PolicySpec, given: dict[str, Any]) -> dict[str, Any]:
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
    return read_experiment(path, overrides).scenario()


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Document:
    """A file of one run, not yet validated. Raises BadInput in one line."""
    document = read_document(path, overrides)
    if "matrix" in document.data:
        message = "matrix: this file describes many runs; use `testbed sweep`, or remove the matrix for a single run"
        refuse(path, document.lines, ("matrix",), message)
    return document


@dataclass(frozen=True)
class Document:
    """An experiment file as it stands, with its overrides in place, not yet validated."""

    path: Path
    data: dict[str, Any]
    lines: Lines
    overridden: dict[At, str]  # what set each place that the file did not

    def choices(self) -> list[str]:
        """Which files were taken, where their names could mean others."""
        return list(choices(self.data, self.path.parent))

    def scenario(self) -> Scenario:
        """Validates. Raises BadInput in one line."""
        try:
            return Scenario.model_validate(self.data, context={FOLDER: self.path.parent})
        except ValidationError as error:
            raise explain(error, self.path, self.lines, Scenario, self.overridden) from error


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Reads and overrides. Raises BadInput in one line."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: an experiment is a mapping with the keys name, topology, workload, ...")
    data = anchored(data, path.parent)
    overridden: dict[At, str] = {}
    for override in overrides:
        key, value = parse_override(override)
        place = assign(data, key, from_here(key, value), f"override {shown(override)}")
        overridden.pop(place, None)  # the order is that of the last override of each place
        overridden[place] = override
    return Document(path, data, lines, overridden)


def from_here(key: str, value: Any) -> Any:
    """Files of policies in the value of an override are relative to the current folder, not to the experiment."""
    if key.partition(".")[0] != "policies":
        return value
    if isinstance(value, list):
        return [from_here(key, one) for one in value]
    if isinstance(value, dict):
        return {from_here(key, name): of_it for name, of_it in value.items()}
    named = isinstance(value, str) and PythonFile.named(value) is not None
    return str(Path(value).absolute()) if named else value


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
