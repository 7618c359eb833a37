"""Whether a file is what the testbed can use: which kind it is, by its content, and everything that is wrong with it.

Rules kept: a file is read by the code that would use it, so that what is valid here is taken by a run; nothing is
started, nothing is fetched. (A policy or a Mininet Topo is Python: its file is executed, as by a run.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from testbed.errors import BadInput
from testbed.files.pyfile import PythonFile
from testbed.files.reading import MIB, decode_json, first_bytes, read_text, refuse_file, shown
from testbed.files.refusals import Refusals, lines_of
from testbed.files.yamlfile import load_yaml

PARQUET = b"PAR1"  # how such a file begins
YAML = (".yaml", ".yml")
LOAD_BYTES = 256 * MIB  # of a trace of requests
KINDS = (
    "experiment", "sweep", "topology", "device profile", "claims", "prompt set", "RTT trace", "decode table",
    "controller", "policy", "load",
)  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """One file; `kind` is one of KINDS, None where that cannot be told."""

    file: str
    kind: str | None
    holds: str = ""
    mistakes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        told = {"file": self.file, "kind": self.kind, "valid": not self.mistakes}
        return {**told, "holds": self.holds, "mistakes": list(self.mistakes)}


def check(text: str) -> Checked:
    """Of a path, or FILE.py:NAME."""
    try:
        kind, read = _recognised(text)
    except BadInput as error:
        return Checked(text, None, mistakes=_mistakes(text, error))
    try:
        return Checked(text, kind, read())
    except BadInput as error:
        return Checked(text, kind, mistakes=_mistakes(text, error))


def _mistakes(text: str, error: BadInput) -> tuple[str, ...]:
    """Each names the file, also where it is about one that the file names."""
    path, lines = shown(text), lines_of(error)
    return tuple(line if line.startswith(path) else f"{path}: {line}" for line in lines)


def _recognised(text: str) -> tuple[str, Callable[[], str]]:
    """The kind, and what reads the file and says what it holds."""
    if (named := PythonFile.named(text)) is not None:
        return _python(text, *named)
    path = Path(text)
    if path.suffix == ".py":
        raise BadInput(f"{shown(path)}: name the policy or the Mininet Topo in it, as in {shown(path)}:SPEC")
    if path.is_dir() and _is_load(path, ""):
        return "load", lambda: _load(text)
    if first_bytes(path, len(PARQUET)) == PARQUET or path.suffix == ".parquet":
        return "decode table", lambda: _table(text)
    content = read_text(path, LOAD_BYTES)
    if path.suffix not in YAML and _is_load(path, content):
        return "load", lambda: _load(text)
    if path.suffix not in YAML and content.lstrip().startswith("["):
        return "prompt set", lambda: _prompts(str(path))
    if path.suffix not in YAML and content.lstrip().startswith("{"):
        return _json(path, content)
    if path.suffix not in YAML and (path.suffix == ".csv" or _has_columns(content)):
        return "RTT trace", lambda: _series(text)
    return _yaml(path)


def _python(text: str, path: Path, name: str) -> tuple[str, Callable[[], str]]:
    from testbed.policies.spec import PolicySpec

    there = vars(PythonFile.read(path).module())
    topos = there.get("topos")  # where Mininet looks
    if isinstance(there.get(name), type) or (isinstance(topos, dict) and name in topos):
        return "topology", lambda: _topology(text)
    return "policy", lambda: _policy(PythonFile.read(path).get(name, PolicySpec, "a PolicySpec (testbed.Policy)"))


def _json(path: Path, content: str) -> tuple[str, Callable[[], str]]:
    """One object is a controller's weights, unless it is a single prompt; several are prompts, one per line."""
    try:
        found = decode_json(content, path)
    except BadInput:
        several = len(content.strip().splitlines()) > 1 and path.suffix != ".json"
        return ("prompt set", lambda: _prompts(str(path))) if several else ("controller", lambda: _weights(path))
    if "layers" in found or "features" in found:
        return "controller", lambda: _weights(path)
    if path.suffix == ".jsonl" or "text" in found:
        return "prompt set", lambda: _prompts(str(path))
    _refuse(path, found)


def _is_load(path: Path, content: str) -> bool:
    """Whether it has a trace's columns or keys, or ServeGen's windows."""
    from testbed.workload.load.rows import looks_like
    from testbed.workload.load.servegen import is_servegen

    return looks_like(content) or is_servegen(path)


def _has_columns(content: str) -> bool:
    """Whether the first line after the comments looks like the header of an RTT trace."""
    from testbed.network.spec.series import COLUMNS

    first = next((line for line in content.splitlines() if line.strip() and not line.startswith("#")), "")
    return len({part.strip() for part in first.split(",")} & set(COLUMNS)) >= 2


def _yaml(path: Path) -> tuple[str, Callable[[], str]]:
    """By its keys: the kind that has most of those that not every kind has."""
    from testbed.experiment.scenario import Scenario
    from testbed.models.devices import DeviceProfile
    from testbed.network.spec.topology import Topology
    from testbed.reproduce.claims import Claims
    from testbed.sweeps.matrix import KEY
    from testbed.workload.load.profile import Profile

    data, _ = load_yaml(path)
    if not isinstance(data, dict):
        refuse_file(path, "is not a file of the testbed: a mapping of keys is expected", 1)
    keys = {
        "experiment": {*Scenario.model_fields, KEY}, "topology": {*Topology.model_fields},
        "device profile": {*DeviceProfile.model_fields}, "claims": {*Claims.model_fields},
        "load": {*Profile.model_fields},
    }  # fmt: skip
    own = {kind: mine.difference(*(keys[other] for other in keys if other != kind)) for kind, mine in keys.items()}
    matches = {kind: len(own[kind] & data.keys()) for kind in keys}
    kind = max(matches, key=matches.__getitem__)
    if not matches[kind]:
        _refuse(path, data)
    if kind == "experiment":
        return ("sweep", lambda: _sweep(path)) if KEY in data else ("experiment", lambda: _experiment(path))
    readers = {"topology": _topology, "device profile": _device, "claims": _claims, "load": _load}
    return kind, lambda: readers[kind](str(path) if path.is_absolute() else f"./{path}")


def _refuse(path: Path, found: Any) -> NoReturn:
    keys = ", ".join(map(str, found)) if isinstance(found, dict) else "no keys"
    refuse_file(path, f"is none of {', '.join(KINDS)}: none has its keys ({shown(keys[:80])})")


def _experiment(path: Path) -> str:
    from testbed.experiment.document import read_experiment

    scenario = read_experiment(path).scenario()
    refusals = Refusals(path)
    _try_named(scenario, refusals, _sources())
    refusals.settle()
    policies = _several(len(scenario.policies), "policy", "policies")
    return f"{policies}, {scenario.workload.requests} requests, {len(scenario.place.nodes())} nodes"


def _sweep(path: Path) -> str:
    from testbed.sweeps.plan import load_sweep

    plan, sources, refusals = load_sweep(path), _sources(), Refusals(path)
    for point in plan.points:
        _try_named(point.scenario, refusals, sources)
    refusals.settle()
    return f"{_several(len(plan.points), 'point', 'points')} of {', '.join(plan.axes)}"


def _sources() -> Any:
    from testbed.sweeps.sources import CachedSources

    return CachedSources()


def _try_named(scenario: Any, refusals: Refusals, sources: Any) -> None:
    """Everything that an experiment names is read, and put together if nothing is wrong so far."""
    from testbed.experiment.resolve import resolve
    from testbed.models.load import resolve as find_model
    from testbed.models.lookup import LOOKUP
    from testbed.simulation.inputs import by_id
    from testbed.tables.outcomes import MadeUp, Recorded

    outcomes, prompts, before = scenario.outcomes, None, len(refusals)
    reads: list[Callable[[], object]] = [partial(sources.topology, scenario.topology)]
    reads += [partial(sources.profile, name) for name in scenario.devices.model_dump().values()]
    if isinstance(outcomes, MadeUp):  # of which no prompt is read, and no model
        prompts = by_id("made-up", [str(number) for number in range(scenario.workload.requests)], "")
    else:
        reads += [partial(sources.prompts, scenario.workload.prompts)]
        models = scenario.models
        reads += [partial(find_model, name) for name in (models.target, models.draft) if name != LOOKUP]
    table = outcomes.drawn.table if isinstance(outcomes, MadeUp) and outcomes.drawn is not None else None
    if table := (outcomes.table if isinstance(outcomes, Recorded) else table):
        reads += [partial(sources.table, table)]
    for read in reads:
        with refusals.one():
            read()
    if len(refusals) == before:
        with refusals.one():
            resolve(scenario, sources, prompts=prompts)


def _topology(name: str) -> str:
    from testbed.network.spec.topology import load_topology

    found = load_topology(name)
    return f"{found.name}: {_several(len(found.region_names), 'region', 'regions')}"


def _device(name: str) -> str:
    from testbed.models.devices import load_profile

    found = load_profile(name)
    return f"{found.model} on {found.device}, {found.kind}"


def _load(name: str) -> str:
    from testbed.workload.load.profile import Profile
    from testbed.workload.load.source import load_load

    found = load_load(_path(name))
    if isinstance(found.of, Profile):
        return f"{_several(len(found.of.streams), 'stream', 'streams')}, {found.seconds:g} s"
    return f"{_several(len(found.of.requests), 'request', 'requests')} of {found.of.format}, {found.seconds:g} s"


def _claims(name: str) -> str:
    from testbed.reproduce.claims import read_claims
    from testbed.sweeps.plan import load_sweep

    path = Path(name)
    found, refusals = read_claims(path), Refusals(path)
    for entry in found.sweeps.values():
        with refusals.one():
            load_sweep(path.parent / entry.file, entry.overrides)
    refusals.settle()
    return f"{_several(len(found.claims), 'claim', 'claims')}, {_several(len(found.figures), 'figure', 'figures')}"


def _prompts(name: str) -> str:
    from testbed.workload.prompts import load_prompts

    return _several(len(load_prompts(_path(name)).prompts), "prompt", "prompts")


def _series(name: str) -> str:
    from testbed.network.spec.series import load_series

    found = load_series(_path(name))
    return f"{_several(len(found.pairs), 'pair', 'pairs')}, {found.seconds:g} s"


def _table(name: str) -> str:
    from testbed.tables.table import load_table

    found = load_table(_path(name))
    pair = f"{found.provenance.target} with {found.provenance.draft}"
    return f"{_several(len(found.prompts), 'prompt', 'prompts')} of {pair}"


def _weights(path: Path) -> str:
    from testbed.files.reading import read_bytes
    from testbed.policies.wisp.classifier import decode

    found = decode(read_bytes(path), str(path))
    return f"{found.kind} of {found.origin.target} with {found.origin.draft}"


def _policy(spec: Any) -> str:
    return f"{spec.name}: {', '.join(spec.roles)}"


def _path(name: str) -> str:
    """Text that no reader takes for a name."""
    return name if "/" in name else f"./{name}"


def _several(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
