"""The experiment file: strict model, overrides, and the hash that names a run.

Every default stands here, once, with its reason. A key that would do nothing is refused, never ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.models.devices import NATIVE
from testbed.policies import registry
from testbed.workload.arrivals import Arrivals
from testbed.yamlfile import explain, load_yaml, problem

MAX_NODES = 250  # addresses of one /24, and far more than two cores can run


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplingOptions(_Strict):
    """How the target chooses tokens; greedy unless a temperature is given."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    def with_seed(self, seed: int) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, seed)


class Workload(_Strict):
    prompts: str
    requests: Annotated[int, Field(ge=1, le=100_000)]
    output_tokens: Annotated[int, Field(ge=1, le=4096)] = 100  # as in the WANSpec paper
    arrivals: Arrivals = "sequential"
    sampling: SamplingOptions = SamplingOptions()
    ignore_eos: bool = False


class Models(_Strict):
    target: str
    draft: str


class Devices(_Strict):
    """`drafter` paces the draft model wherever it runs, at the drafter's site and at the target's."""

    target: str = NATIVE
    drafter: str = NATIVE


Sites = str | dict[str, Annotated[int, Field(ge=1)]] | list[str]


class Place(_Strict):
    """Where the roles run: a site, a list of sites, or how many at each site."""

    user: Sites
    target: Sites
    drafter: Sites | None = None

    def nodes(self) -> dict[str, tuple[str, str]]:
        """Node name to (role, site): user0, user1, target0, drafter0, in this order."""
        nodes: dict[str, tuple[str, str]] = {}
        for role in ("user", "target", "drafter"):
            for index, site in enumerate(_expand(getattr(self, role))):
                nodes[f"{role}{index}"] = (role, site)
        return nodes


def _expand(sites: Sites | None) -> list[str]:
    if sites is None:
        return []
    if isinstance(sites, str):
        return [sites]
    if isinstance(sites, Mapping):
        return [site for site, count in sites.items() for _ in range(count)]
    return list(sites)


class PolicyEntry(_Strict):
    """One policy of the experiment: registered name, label in the results, its own parameters."""

    name: str
    label: str
    params: dict[str, Any]


class Scenario(_Strict):
    """A resolved experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    topology: str
    workload: Workload
    models: Models
    devices: Devices = Devices()
    place: Place
    policies: Annotated[list[PolicyEntry], Field(min_length=1)]
    repeats: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="before")
    @classmethod
    def _policies(cls, data: Any) -> Any:
        """`- name` and `- name: {params, label}` become PolicyEntry mappings; parameters are checked by the policy."""
        if not isinstance(data, dict) or not isinstance(data.get("policies"), list):
            return data
        entries = [_entry(index, item) for index, item in enumerate(data["policies"])]
        return {**data, "policies": entries}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        labels = [entry.label for entry in self.policies]
        for index, label in enumerate(labels):
            if label in labels[:index]:
                raise problem(("policies", index), f"two policies are called {label!r}; give one of them a label")
        roles = {role for role, _ in self.place.nodes().values()}
        for index, entry in enumerate(self.policies):
            for role in registry.get(entry.name).roles:
                if role not in roles:
                    raise problem(("policies", index), f"policy {entry.label!r} needs a {role}; place it under place:")
        if len(self.place.nodes()) > MAX_NODES:
            raise problem(("place",), f"{len(self.place.nodes())} nodes are more than the {MAX_NODES} of one network")
        if len(_expand(self.place.target)) != 1:
            raise problem(("place", "target"), "one target is supported; several need a router in front of them")
        return self

    def resolved(self) -> dict[str, Any]:
        """Plain data, every default filled in: what the manifest keeps and the run id hashes."""
        return self.model_dump(mode="json")


def _entry(index: int, item: Any) -> Any:
    if isinstance(item, str):
        item = {item: {}}
    if isinstance(item, dict) and set(item) == {"name", "label", "params"}:
        return item  # resolved already: a manifest read back
    if not isinstance(item, dict) or len(item) != 1:
        raise problem(("policies", index), "a policy is a name, or one name with its parameters: `- wanspec: {k: 2}`")
    name, params = next(iter(item.items()))
    params = dict(params or {})
    label = params.pop("label", name)
    try:
        spec = registry.get(name)
    except BadInput as error:
        raise problem(("policies", index), str(error)) from error
    try:
        checked = spec.params.model_validate(params)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"])
        known = ", ".join(spec.params.model_fields) or "none"
        words = (
            f"parameter {key!r} is unknown; valid: {known}"
            if detail["type"] == "extra_forbidden"
            else (f"parameter {key!r}: {detail['msg'].removeprefix('Value error, ')} (it is {detail['input']!r})")
        )
        raise problem(("policies", index, *([name] if isinstance(item, dict) else [])), f"{name}: {words}") from error
    return {"name": name, "label": label, "params": checked.model_dump(mode="json")}


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Reads, overrides (`workload.requests=10`), validates. Raises BadInput in one line."""
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}:1: an experiment is a mapping with the keys name, topology, workload, ...")
    for override in overrides:
        _override(data, override)
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise BadInput(explain(error, path, lines, Scenario)) from error


def _override(data: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"override {text!r}: write key=value, for example workload.requests=10")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise BadInput(f"override {text!r}: the value is not YAML") from error
    *parents, last = key.split(".")
    at: Any = data
    for part in parents:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[_index(text, at, part)]
    if isinstance(at, list):
        at[_index(text, at, last)] = parsed
    elif isinstance(at, dict):
        at[last] = parsed
    else:
        raise BadInput(f"override {text!r}: {'.'.join(parents)} is a value, not a mapping")


def _index(text: str, at: Any, part: str) -> int:
    if not isinstance(at, list) or not part.isdigit() or int(part) >= len(at):
        raise BadInput(f"override {text!r}: {part!r} is not an index into a list of this file")
    return int(part)


def run_id(resolved: Mapping[str, Any], ingredients: Mapping[str, str]) -> str:
    """Ten hex digits over the resolved scenario and everything else that decides the run: code, models, traces."""
    text = json.dumps({"scenario": resolved, "ingredients": dict(ingredients)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
