"""Which phases the compiled world can run. What it does not know it declines: a new option is the objects' first."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any

import msgspec
from pydantic import BaseModel

from testbed.models.devices import DeviceProfile
from testbed.models.tables import DecodeTable
from testbed.nodes.control import PlannedRequest
from testbed.policies import autoregressive, registry, speculative, wanspec
from testbed.policies.spec import PolicySpec
from testbed.scenario import PolicyEntry
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import WorldSpec

# Fields that are understood, by policy. Of any other field, only the default is.
KNOWN_PARAMETERS = {
    "autoregressive": frozenset[str](),
    "speculative": frozenset({"k", "draft", "top_q"}),
    "wanspec": frozenset({"k", "phi", "rule", "contradiction", "rtt_ms", "max_lookahead"}),
}
KNOWN_RULES = ("literal", "t_draft_aware")
KNOWN_WORLD = frozenset({"nodes", "links", "profiles", "seed", "drain_ns", "overheads"})
KNOWN_OVERHEADS = frozenset({"job_ms", "message_ms"})
KNOWN_LINK = frozenset({"one_way_ms", "jitter_ms", "loss", "rate_bps", "series"})
KNOWN_PROFILE = frozenset(
    {"name", "device", "model", "kind", "source", "note", "pass_ms", "max_pass_tokens", "sequence_ms", "step_ms"}
    | {"kv_bytes_per_token", "kv_capacity_tokens"}
)
KNOWN_REQUEST = frozenset({"request", "prompt_id", "prompt", "max_tokens", "sampling", "eos", "due_ms"})


def supports(spec: WorldSpec, entry: PolicyEntry, planned: Sequence[PlannedRequest], table: DecodeTable) -> str | None:
    """Why this phase is the object world's; None if the compiled world can run it."""
    policy = registry.get(entry.name)
    return (
        _policy(policy, policy.parse(entry.params))
        or _world(spec, policy)
        or next((reason for profile in spec.profiles.values() if (reason := _profile(profile))), None)
        or next((reason for link in spec.links.values() if (reason := _link(link))), None)
        or _requests(planned, table)
        or _memory(spec, planned)
    )


def _policy(policy: PolicySpec, params: BaseModel) -> str | None:
    if not any(policy is known for known in (autoregressive.SPEC, speculative.SPEC, wanspec.SPEC)):
        return f"policy {policy.name} is not compiled"
    if name := _beyond(params, KNOWN_PARAMETERS[policy.name]):
        return f"policy {policy.name}: {name} is not compiled"
    rule = getattr(params, "rule", None)
    return f"policy {policy.name}: rule {rule} is not compiled" if rule not in (None, *KNOWN_RULES) else None


def _world(spec: WorldSpec, policy: PolicySpec) -> str | None:
    if name := _beyond(spec, KNOWN_WORLD) or _beyond(spec.overheads, KNOWN_OVERHEADS):
        return f"{name} is not compiled"
    roles = [role for role, _ in spec.nodes.values()]
    for role in ("target", "drafter"):
        if role in policy.roles and roles.count(role) != 1:
            return f"{roles.count(role)} {role} nodes; one is compiled"
    return "no user node" if "user" not in roles else None


def _profile(profile: DeviceProfile) -> str | None:
    if profile.native:
        return "a native device"
    name = _beyond(profile, KNOWN_PROFILE)
    return f"device profile {profile.name}: {name} is not compiled" if name else None


def _link(link: LinkSpec) -> str | None:
    if link.varies:
        return "a link with a series, jitter or loss"
    name = _beyond(link, KNOWN_LINK)
    return f"link option {name} is not compiled" if name else None


def _requests(planned: Sequence[PlannedRequest], table: DecodeTable) -> str | None:
    if not planned:
        return "no request"
    for one in planned:
        if name := _beyond(one, KNOWN_REQUEST):
            return f"request option {name} is not compiled"
        if one.due_ms is not None:
            return "requests at due times; sequential ones are compiled"
        if not one.sampling.greedy:
            return "sampled output"
        recorded = table.output(one.prompt_id, one.sampling)
        if recorded is None or recorded.prompt != one.prompt or one.max_tokens < 1:
            return f"request {one.request} is not one of the decode table's"
    return None


def _memory(spec: WorldSpec, planned: Sequence[PlannedRequest]) -> str | None:
    """A cache that can hold a whole request of each user is never full, so nothing need ask how full it is."""
    users = sum(role == "user" for role, _ in spec.nodes.values())
    most = users * max(len(one.prompt) + one.max_tokens for one in planned)
    for profile in spec.profiles.values():
        if profile.kv_capacity_tokens is not None and profile.kv_capacity_tokens < most:
            return f"device profile {profile.name}: {profile.kv_capacity_tokens} tokens of memory could be too few"
    return None


def _beyond(model: Any, known: frozenset[str]) -> str | None:
    """A field that is not known and not at its default."""
    kind: Any = type(model)
    return next((name for name, default in _unknown(kind, known) if getattr(model, name) != default), None)


@cache
def _unknown(model: Hashable, known: frozenset[str]) -> list[tuple[str, Any]]:
    """Fields that are not known, with their defaults: what a field without one has instead equals no value."""
    fields: list[tuple[str, Any]]
    assert isinstance(model, type)
    if issubclass(model, BaseModel):
        fields = [(name, field.get_default()) for name, field in model.model_fields.items()]
    elif issubclass(model, msgspec.Struct):
        fields = [(field.name, field.default) for field in msgspec.structs.fields(model)]
    else:
        assert dataclasses.is_dataclass(model)
        fields = [(field.name, field.default) for field in dataclasses.fields(model)]
    return [(name, default) for name, default in fields if name not in known]
