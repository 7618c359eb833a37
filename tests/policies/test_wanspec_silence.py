"""A worker that falls silent: waited for as in the listing, or done without until it speaks again (past the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from testbed.policies import registry
from testbed.policies.wanspec.presence import RETRY, ROUND_TRIPS, Presence
from testbed.testing import HashModels, Job, Loop
from testbed.wire.messages import Open, Validation

JOBS = [Job(number, (number, 2, 3), 30, at_ms=400.0 * number) for number in range(6)]


class Losing(Loop):
    """`gone`: when each drafter is not there (from, until, ms): it hears and says nothing."""

    gone: dict[str, tuple[float, float]] = {}  # set before the run, once

    def _at(self, when: float, node: str, event: Any) -> None:
        since, until = self.gone.get(node, (0.0, 0.0))
        if since <= when < until:
            when = until  # as of a frozen node: passes and messages wait
        super()._at(when, node, event)


def run(gone: dict[str, tuple[float, float]], drafters: int = 1, **params: Any) -> tuple[Any, Any]:
    spec = registry.get("wanspec")
    models = HashModels(seed=3)
    loop = Losing(spec, spec.parse(params), models, rtt_ms=12.0, drafters=drafters)
    loop.gone = gone
    return loop.run(JOBS), models


FOR_EVER = {"drafter0": (500.0, 1e9)}
KINDS = [{}, {"branches": 2}, {"rule": "expected_arrival"}]


@pytest.mark.parametrize("params", KINDS[:2])
def test_the_listing_waits_for_its_worker(params: dict[str, Any]) -> None:
    result, _ = run(FOR_EVER, **params)
    assert any(at > 1e8 for at in result.finished_ms.values())


@pytest.mark.parametrize("params", KINDS)
def test_without_its_worker_a_controller_drafts_itself(params: dict[str, Any]) -> None:
    result, models = run(FOR_EVER, silence_ms=200.0, **params)
    assert all(tuple(result.outputs[job.request]) == models.reference(job) for job in JOBS)
    assert all(at < 1e5 for at in result.finished_ms.values())


@pytest.mark.parametrize("params", KINDS)
def test_nothing_changes_while_the_worker_speaks(params: dict[str, Any]) -> None:
    (with_option, _), (without, _) = run({}, silence_ms=2000.0, **params), run({}, **params)
    assert with_option.sent == without.sent and with_option.finished_ms == without.finished_ms


def test_a_worker_that_speaks_again_is_used_again() -> None:
    result, models = run({"drafter0": (500.0, 1500.0)}, silence_ms=100.0)
    assert all(tuple(result.outputs[job.request]) == models.reference(job) for job in JOBS)
    late = [one for one in result.passes if one.kind == "verify" and one.started_ms > 2000.0]
    assert late and sum(one.remote_drafts for one in late) > 0


def test_new_requests_go_to_workers_that_speak() -> None:
    result, _ = run({"drafter0": (0.0, 1e9)}, drafters=2, silence_ms=100.0)
    opened = [(to, message.request) for _, to, message in result.sent if isinstance(message, Open)]
    assert opened[0] == ("drafter0", 0)
    assert {to for to, request in opened if request >= 2} == {"drafter1"}
    assert not any(
        to == "drafter0" for _, to, message in result.sent if isinstance(message, Validation) and message.request
    )


def first(workers: Sequence[str]) -> str:
    return workers[0]


def test_a_silent_worker_is_tried_again_now_and_then() -> None:
    presence = Presence(100.0, ["a", "b"], lambda worker: 10.0)
    assert not presence.is_silent("a", told=0.0, now=99.0)
    assert presence.is_silent("a", told=0.0, now=100.0)
    assert [presence.choose(first) for _ in range(RETRY)] == ["b"] * (RETRY - 1) + ["a"]
    presence.heard("a", 200.0)
    assert presence.choose(first) == "a"


def test_the_bound_is_some_round_trips_at_least() -> None:
    presence = Presence(100.0, ["a"], lambda worker: 50.0)
    assert not presence.is_silent("a", told=0.0, now=ROUND_TRIPS * 50.0 - 1.0)
    assert presence.is_silent("a", told=0.0, now=ROUND_TRIPS * 50.0)


def test_the_only_worker_is_opened_at_all_the_same_so_that_it_can_come_back() -> None:
    presence = Presence(100.0, ["a"], lambda worker: None)
    assert presence.is_silent("a", told=0.0, now=500.0)
    assert presence.choose(first) == "a"


def test_off_every_worker_is_waited_for() -> None:
    presence = Presence(None, ["a"], lambda worker: 1.0)
    assert not presence.is_silent("a", told=0.0, now=1e9) and presence.alarm(1, "a", 0.0) == []
