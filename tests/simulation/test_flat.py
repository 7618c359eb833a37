"""Roles, recorders and memory accounts hold nothing of requests that have ended: long runs take what short ones do.

In virtual time, so exact: what a host holds at the end is weighed after few requests and after many.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.bench.faults import VARIANTS
from testbed.experiment.requests import plan_requests
from testbed.nodes.recorder import PhaseLog, Recorder
from testbed.policies import registry
from testbed.policies.api import RoleContext
from testbed.policies.once import Longest
from testbed.simulation.world import World
from testbed.workload.planned import PlannedRequest
from tests.simulation.made_up import decode_table, inputs_of, scenario

FEW, MANY = 60, 460
SLACK_BYTES = 3_000  # windows of recent values that fill up, containers' spare room; a request's number in a set is 60
SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, PhaseLog, RoleContext, PlannedRequest)


def held(root: Any) -> Iterator[Any]:
    """Everything that `root` keeps alive and others do not."""
    seen, line = {id(root)}, [root]
    while line:
        one = line.pop()
        yield one
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, SHARED):
                seen.add(id(other))
                line.append(other)


def weight(host: Any) -> int:
    """Of what lasts a phase at one node."""
    parts = (host._role, host.recorder, host._capacity)
    return sum(sys.getsizeof(one) for part in parts if part is not None for one in held(part))


def weights(policy: str, params: dict[str, Any], requests: int) -> dict[str, int]:
    """By node, at the end of a phase with so many requests of two users."""
    made = scenario(
        {policy: params},
        workload={
            "prompts": "made-up",
            "requests": requests,
            "output_tokens": 6,
            "arrivals": {"closed_loop": {"stagger_s": 1}},
        },
        place={"user": {"near": 2}, "target": "near", "drafter": "far"},
    )
    inputs = inputs_of(made, decode_table(0.6, output_tokens=6))
    planned = plan_requests(made, inputs.experiment.prompts, inputs.encode, (), 1, 0)
    world = World(inputs.world(), made.policies[0], 0, planned, decode_table(0.6, output_tokens=6))
    assert len(world.run().requests) == requests
    return {node: weight(host) for node, host in world._hosts.items()}


@pytest.mark.parametrize(("policy", "params"), [one for one in VARIANTS if "branches" not in one[1]])
def test_many_requests_leave_no_more_than_few(policy: str, params: dict[str, Any]) -> None:
    few, many = weights(policy, params, FEW), weights(policy, params, MANY)
    assert {node: many[node] - few[node] for node in few if many[node] - few[node] > SLACK_BYTES} == {}


def test_every_policy_is_in_it() -> None:
    assert {policy for policy, params in VARIANTS if "branches" not in params} == set(registry.names())


def test_a_leak_of_a_few_bytes_a_request_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "_forget", lambda self: None)
    few, many = weights("speculative", {}, FEW), weights("speculative", {}, MANY)
    assert many["target0"] - few["target0"] > SLACK_BYTES


def test_requests_that_came_are_known_in_four_bytes_each() -> None:
    known = Longest()
    for request in range(100_000):
        known[request] = request % 500
    assert [known[request] for request in (0, 499, 500, 99_999, 100_000, -1)] == [0, 499, 0, 499, -1, -1]
    assert sum(sys.getsizeof(one) for one in held(known)) < 500_000
