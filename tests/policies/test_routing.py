"""Routing: every request goes to one of the targets that its rule allows, and its output is the target's own.

Invariants: no token is lost or handed out twice by a failover; what users know of load came in a message.
"""

from __future__ import annotations

from typing import Any

import pytest

from testbed.decoding.sampling import Sampling
from testbed.policies import registry
from testbed.policies.api import (
    Emit,
    LinkSample,
    MessageReceived,
    RequestArrived,
    RoleContext,
    Send,
    TimerFired,
)
from testbed.policies.routing.options import LOAD_AWARE, RULES, Routing
from testbed.policies.routing.router import TIMER
from testbed.policies.routing.rules import Known, choose
from testbed.testing import HashModels, Job, Loop
from testbed.wire.messages import Load, Request, Tokens

POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("autoregressive", {}),
    ("speculative", {"k": 3}),
    ("centralised", {}),
    ("wanspec", {"k": 3, "phi": 0.5}),
    ("wanspec", {"k": 3, "branches": 2, "phi": 0.5}),
    ("sled", {}),
    ("wisp", {"estimator": "online"}),
]
NAMES = [f"{name}-{index}" for index, (name, _) in enumerate(POLICIES)]
WEIGHTS = {"target0": 1.0, "target1": 3.0}


def routing(rule: str, **more: Any) -> Routing:
    return Routing.model_validate({"rule": rule, **({"weights": WEIGHTS} if rule == "weighted" else {}), **more})


def work(count: int, gap_ms: float = 40.0, tokens: int = 24) -> list[Job]:
    return [
        Job(request, (7, request, 1, 2)[: 1 + request % 4], tokens, (), at_ms=gap_ms * request, slo_tokens_per_s=8.0)
        for request in range(count)
    ]


def asked(loop: Loop) -> dict[int, list[str]]:
    """Request to the targets that were asked, in this order."""
    found: dict[int, list[str]] = {}
    for _, to, message in loop.result.sent:
        if type(message) is Request:
            found.setdefault(message.request, []).append(to)
    return found


def run(name: str, params: dict[str, Any], jobs: list[Job], **more: Any) -> Loop:
    spec, models = registry.get(name), HashModels(3)
    loop = Loop(spec, spec.parse(params), models, **more)
    result = loop.run(jobs)
    for job in jobs:
        assert tuple(result.outputs[job.request]) == models.reference(job), (name, job)
    return loop


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("name", "params"), POLICIES, ids=NAMES)
def test_every_policy_is_lossless_under_every_rule(name: str, params: dict[str, Any], rule: str) -> None:
    loop = run(name, params, work(12), targets=3, users=4, drafters=2, routing=routing(rule), rtt_ms=20.0)
    places = asked(loop)
    assert all(len(targets) == 1 for targets in places.values()) and len(places) == 12
    assert loop.result.open_caches == 0
    spoke = {type(message) for _, _, message in loop.result.sent}
    assert (Load in spoke) == (rule in LOAD_AWARE)


@pytest.mark.parametrize("at_ms", [30.0, 301.0, 522.0, 760.0, 1100.0])
@pytest.mark.parametrize(("name", "params"), POLICIES, ids=NAMES)
def test_a_target_that_falls_silent_costs_no_token(name: str, params: dict[str, Any], at_ms: float) -> None:
    """Whenever it stops: its open requests go on elsewhere after their last token, new ones avoid it."""
    loop = run(
        name,
        params,
        work(16, gap_ms=110.0),
        targets=3,
        users=3,
        drafters=2,
        rtt_ms=30.0,
        routing=routing("round_robin", failover_ms=750),
        stopped={"target1": at_ms},
        pings_until_ms=20_000,
    )
    places = asked(loop)
    moved = [targets for targets in places.values() if len(targets) > 1]
    assert moved and all(targets[0] == "target1" and "target1" not in targets[1:] for targets in moved)
    known_after = at_ms + 750 + 250 + 30  # a ping more may have been answered
    assert all(places[job.request][0] != "target1" for job in work(16, gap_ms=110.0) if job.at_ms > known_after)


@pytest.mark.parametrize("at_ms", [301.0, 522.0, 760.0])
@pytest.mark.parametrize(("name", "params"), POLICIES, ids=NAMES)
def test_a_target_that_is_cut_off_from_its_user_goes_on_and_does_no_harm(
    name: str, params: dict[str, Any], at_ms: float
) -> None:
    """It still has its drafters, which the new target shares: what it says of a request that moved counts no more."""
    loop = run(
        name,
        params,
        work(6, gap_ms=110.0, tokens=150),  # so long that it still works on them when they have moved
        targets=2,
        users=1,
        drafters=2,
        rtt_ms=30.0,
        routing=routing("round_robin", failover_ms=750),
        cuts={("user0", "target1"): at_ms},
        pings_until_ms=20_000,
    )
    assert any(targets == ["target1", "target0"] for targets in asked(loop).values())


def test_without_failover_requests_of_a_silent_target_stay_open() -> None:
    spec, models = registry.get("autoregressive"), HashModels(3)
    loop = Loop(
        spec, spec.parse({}), models, targets=2, routing=routing("round_robin", failover_ms=None),
        stopped={"target1": 10.0}, pings_until_ms=5_000,
    )  # fmt: skip
    result = loop.run(work(4, gap_ms=0.0))
    assert set(result.finished_ms) == {0, 2}


def test_what_a_former_target_still_says_is_dropped() -> None:
    spec = registry.get("autoregressive")
    context = RoleContext("user0", {"user": ["user0"], "target": ["target0", "target1"]})
    role = spec.role("user", spec.parse({}), context, routing=routing("nearest", failover_ms=1000))
    role.handle(LinkSample("target0", 1.0), 0.0)
    role.handle(LinkSample("target1", 9.0), 0.0)
    (sent, _) = role.handle(arrived(1), 0.0)
    assert isinstance(sent, Send) and sent.to == "target0"
    role.handle(MessageReceived("target0", Tokens(1, 1, (4, 5), False)), 10.0)
    role.handle(LinkSample("target1", 9.0), 900.0)
    moved, _ = role.handle(TimerFired(TIMER), 1001.0)
    assert moved == Send("target1", Request(1, (1, 4, 5), 8, arrived(1).sampling))
    assert role.handle(MessageReceived("target0", Tokens(1, 3, (6,), False)), 1100.0) == []
    emitted, *_ = role.handle(MessageReceived("target1", Tokens(1, 3, (6, 7), False)), 1200.0)
    assert emitted == Emit(1, (6, 7))


def test_nearest_takes_the_least_round_trip() -> None:
    ways = {("user0", "target0"): 80.0, ("user0", "target1"): 20.0, ("user1", "target0"): 5.0}
    ways[("user1", "target1")] = 90.0
    loop = run("autoregressive", {}, work(8), targets=2, users=2, routing=routing("nearest"), ways_ms=ways)
    assert asked(loop) == {request: ["target1" if request % 2 == 0 else "target0"] for request in range(8)}


def test_round_robin_takes_turns_and_users_do_not_move_in_step() -> None:
    loop = run("autoregressive", {}, work(8, gap_ms=0.0), targets=4, users=2, routing=routing("round_robin"))
    firsts = [targets[0] for targets in asked(loop).values()]
    assert firsts == ["target0", "target1", "target1", "target2", "target2", "target3", "target3", "target0"]


def test_sticky_keeps_a_user_where_its_first_request_went() -> None:
    loop = run("autoregressive", {}, work(9), targets=3, users=3, routing=routing("round_robin", sticky=True))
    places = asked(loop)
    assert all(places[request] == places[request % 3] for request in range(9))
    assert len({places[request][0] for request in range(3)}) == 3


def arrived(request: int, tokens: int = 10) -> RequestArrived:
    return RequestArrived(request, (1,), tokens, Sampling(0.0, 0, 1.0, 11))


def test_weights_and_chance_are_kept() -> None:
    """Of 2,000 requests three quarters go to the target with three times the weight, within four deviations."""
    known = {"target0": Known(), "target1": Known()}
    drawn = [choose(routing("weighted"), ["target0", "target1"], known, arrived(number), 0) for number in range(2000)]
    assert abs(drawn.count("target1") - 1500) < 4 * (2000 * 0.25 * 0.75) ** 0.5


def test_of_two_drawn_the_shorter_queue_is_taken() -> None:
    known = {f"target{index}": Known() for index in range(5)}
    known["target0"].reported(Load(1, 9, 90), 0.0)
    picks = [choose(routing("power_of_two"), list(known), known, arrived(number), 0) for number in range(500)]
    assert "target0" not in picks and set(picks) == set(known) - {"target0"}


def test_a_report_is_as_old_as_its_way() -> None:
    """Requests sent within the round trip before a report came are not in it yet; older ones are."""
    known = Known()
    known.sample(40.0, 0.0)
    known.sent(1, 10, 100.0)
    known.sent(2, 20, 150.0)
    assert (known.open, known.tokens) == (2, 30)
    known.reported(Load(1, 5, 50), 160.0)  # made at 140: request 1 was there at 120, request 2 came at 170
    assert (known.open, known.tokens) == (6, 70)


def test_least_loaded_counts_tokens_and_jsq_requests() -> None:
    known = {"target0": Known(), "target1": Known()}
    known["target0"].reported(Load(1, 1, 900), 0.0)
    known["target1"].reported(Load(1, 3, 30), 0.0)
    assert choose(routing("jsq"), list(known), known, arrived(1), 0) == "target0"
    assert choose(routing("least_loaded"), list(known), known, arrived(1), 0) == "target1"


def test_predicted_tries_every_target_and_then_keeps_to_the_fast_one() -> None:
    ways = {("user0", "target0"): 0.0, ("user0", "target1"): 300.0, ("user0", "target2"): 20.0}
    loop = run("autoregressive", {}, work(12, 2000.0), targets=3, routing=routing("predicted"), ways_ms=ways)
    firsts = [targets[0] for targets in asked(loop).values()]
    assert set(firsts[:3]) == {"target0", "target2"} or set(firsts) == {"target0", "target1", "target2"}
    assert firsts[-3:] == ["target0"] * 3


def test_reports_are_no_more_frequent_than_asked_for() -> None:
    loop = run("autoregressive", {}, work(40, gap_ms=15.0), targets=2, routing=routing("jsq", report_ms=100))
    told = [message for sender, _, message in loop.result.sent if type(message) is Load and sender == "target0"]
    assert 2 < len(told) <= loop.result.end_ms / 100 + 1
    assert (told[-1].open, told[-1].left) == (0, 0), "the last report says that nothing is left"
