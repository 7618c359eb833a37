"""Policies by name: the built-in ones, and those other distributions add under the entry points `testbed.policies`."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from testbed.errors import BadInput
from testbed.policies import autoregressive, sled, speculative, wanspec, wisp
from testbed.policies.faults import own_line, said
from testbed.policies.serving import centralised
from testbed.policies.spec import PolicySpec

GROUP = "testbed.policies"

_BUILT_IN = {
    spec.name: spec
    for spec in (autoregressive.SPEC, speculative.SPEC, wanspec.SPEC, centralised.SPEC, sled.SPEC, wisp.SPEC)
}


def names() -> list[str]:
    """Every policy an experiment may name."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def get(name: str) -> PolicySpec:
    """The policy of this name. A built-in name cannot be taken over by a third party."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for point in entry_points(group=GROUP, name=name):
        return _load(point)
    nearest = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)
    raise BadInput(f"no policy {name!r}; nearest is {nearest[0]!r} (known: {', '.join(names())})")


def _load(point: EntryPoint) -> PolicySpec:
    try:
        spec = point.load()
    except (Exception, SystemExit) as error:
        place = own_line(error, point.module.partition(".")[0])
        raise BadInput(f"policy {point.name} ({point.value}) cannot be loaded: {said(error)}; at {place}") from error
    if not isinstance(spec, PolicySpec) or spec.name != point.name:
        raise BadInput(f"entry point {point.name} = {point.value} in group {GROUP} must be a PolicySpec of that name")
    return spec
