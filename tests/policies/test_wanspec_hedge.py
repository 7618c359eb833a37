"""What goes past the paper: when to draft here instead of waiting, and how much a request may lose by waiting."""

from __future__ import annotations

from functools import cache
from math import inf
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.policies import registry
from testbed.policies.wanspec.credit import LatencyCredit
from testbed.policies.wanspec.outlook import Lineage, MismatchPredictor, Outlook
from testbed.policies.wanspec.params import WanspecParams
from testbed.policies.wanspec.switch import RETRY, WINDOW, WorkerSwitch
from testbed.testing import HashModels, Job, Loop

RTT_MS, STEP_MS = 40.0, 7.5


# --- what to expect of a worker -------------------------------------------------------------------------------------


def test_a_restarted_worker_is_a_round_trip_and_a_step_a_level_away() -> None:
    lineage = Lineage(sent=100.0, base=10)
    assert lineage.arrival(10, 100.0, RTT_MS, STEP_MS) == 100.0 + RTT_MS + STEP_MS
    assert lineage.arrival(12, 100.0, RTT_MS, STEP_MS) == 100.0 + RTT_MS + 3 * STEP_MS


def test_a_streaming_worker_is_a_step_a_level_behind_what_arrived_last() -> None:
    lineage = Lineage(sent=0.0, base=10)
    lineage.level, lineage.heard = 12, 90.0
    assert lineage.arrival(13, 91.0, RTT_MS, STEP_MS) == 90.0 + STEP_MS
    assert lineage.arrival(15, 91.0, RTT_MS, STEP_MS) == 90.0 + 3 * STEP_MS


def test_what_is_overdue_is_a_risk_and_then_not_expected_at_all() -> None:
    lineage = Lineage(sent=0.0, base=10)
    due = RTT_MS + STEP_MS
    assert lineage.arrival(10, due + 0.5 * STEP_MS, RTT_MS, STEP_MS) == due + 2.5 * STEP_MS
    assert lineage.arrival(10, due + 2 * STEP_MS, RTT_MS, STEP_MS) == inf


def test_a_possible_mismatch_is_weighed_with_its_probability() -> None:
    outlook = Outlook(now=0.0, base=10)
    outlook.heard(11, 100.0)
    outlook.validated(110.0, 12, mismatch=0.25)
    foreseen, restarted = 120.0, 110.0 + RTT_MS + STEP_MS  # both for position 12, seen at 120
    outlook.heard(11, 120.0 - STEP_MS)
    assert outlook.expected(12, 120.0, RTT_MS, STEP_MS) == pytest.approx(0.75 * foreseen + 0.25 * restarted)
    outlook.agreed()
    assert outlook.expected(12, 120.0, RTT_MS, STEP_MS) == foreseen


def test_a_sure_mismatch_leaves_only_the_restart() -> None:
    outlook = Outlook(now=0.0, base=10)
    outlook.heard(11, 100.0)
    outlook.validated(110.0, 12, mismatch=1.0)
    assert outlook.expected(12, 112.0, RTT_MS, STEP_MS) == 110.0 + RTT_MS + STEP_MS


def test_a_miss_seen_late_restarts_from_the_message_that_told_of_it() -> None:
    outlook = Outlook(now=0.0, base=10)
    outlook.heard(11, 100.0)
    outlook.validated(110.0, 12, mismatch=0.1)
    outlook.missed(sent=110.0, base=12, latest=True)
    assert outlook.expected(12, 130.0, RTT_MS, STEP_MS) == 110.0 + RTT_MS + STEP_MS
    outlook.missed(sent=110.0, base=12, latest=True)  # more of the dead branch arrives: nothing new
    assert outlook.expected(12, 130.0, RTT_MS, STEP_MS) == 110.0 + RTT_MS + STEP_MS


def test_only_consecutive_levels_tell_the_worker_s_step() -> None:
    outlook = Outlook(now=0.0, base=10)
    assert outlook.heard(10, 50.0) is None
    assert outlook.heard(11, 57.5) == 7.5
    assert outlook.heard(11, 60.0) is None  # the same level again, another branch


def test_mismatches_are_learned_from_entropy() -> None:
    predictor = MismatchPredictor()
    sure, unsure = predictor.features(0.05, -0.1), predictor.features(3.0, -0.1)
    for _ in range(300):
        predictor.learn(sure, mismatched=False)
        predictor.learn(unsure, mismatched=True)
    assert predictor.probability(sure) < 0.2 < 0.8 < predictor.probability(unsure)


# --- the credit -----------------------------------------------------------------------------------------------------


def test_credit_is_what_colocated_speculation_would_have_taken_and_was_not() -> None:
    credit = LatencyCredit(bound=1.0, opened=0.0)
    assert credit.left_ms(0.0, 2, 2, 7.5, 23.4) == pytest.approx(0.0)  # a round drafted here gains nothing
    credit.verified(2, 7.5, 23.4)
    assert credit.left_ms(23.4, 2, 2, 7.5, 23.4) == pytest.approx(15.0)  # both drafts came in time
    assert credit.left_ms(33.4, 2, 2, 7.5, 23.4) == pytest.approx(5.0)  # and 10 ms of waiting were spent


def test_a_bound_above_one_lends_its_share_in_advance() -> None:
    credit = LatencyCredit(bound=1.5, opened=0.0)
    assert credit.left_ms(0.0, 2, 2, 10.0, 20.0) == pytest.approx(20.0)


def latencies(models: HashModels, jobs: list[Job], rtt_ms: float, **params: Any) -> tuple[dict[int, float], int]:
    """Milliseconds a request, and draft passes at the target's site."""
    loop = Loop(registry.get("wanspec"), WanspecParams(**params), models, rtt_ms=rtt_ms)
    result = loop.run(jobs)
    drafts = sum(one.kind == "draft" and one.node == "target0" for one in result.passes)
    return {job.request: result.finished_ms[job.request] - job.at_ms for job in jobs}, drafts


@cache
def bounded(seed: int) -> tuple[HashModels, list[Job], dict[int, float]]:
    """Models, requests, and how long each takes without a worker, whatever the distance to one."""
    jobs = [Job(request, (request, 2, 3), 80, at_ms=20_000.0 * request) for request in range(4)]
    models = HashModels(seed, match=0.8, second=0.5)
    return models, jobs, colocated(models, jobs)[0]


def colocated(models: HashModels, jobs: list[Job]) -> tuple[dict[int, float], int]:
    spec = registry.get("speculative")
    result = Loop(spec, spec.parse({"k": 2}), models, rtt_ms=0.0).run(jobs)
    drafts = sum(one.kind == "draft" for one in result.passes)
    return {job.request: result.finished_ms[job.request] - job.at_ms for job in jobs}, drafts


@pytest.mark.parametrize("bound", [1.0, 1.02, 1.2])
@pytest.mark.parametrize("rtt_ms", [5.0, 20.0, 40.0, 70.0, 200.0])
def test_no_request_takes_longer_than_its_bound(rtt_ms: float, bound: float) -> None:
    """The rule of `credit`. One draft step of slack: a wait that was expected to pay may end in vain."""
    for seed in range(2):
        models, jobs, base = bounded(seed)
        for mismatch in ("entropy", "learned"):
            ours, _ = latencies(
                models, jobs, rtt_ms, branches=2, rule="expected_arrival", mismatch=mismatch, latency_bound=bound
            )
            for request, taken in ours.items():
                assert taken <= bound * base[request] + 7.5 + 1.0, (seed, request, mismatch)


def test_credit_moves_drafts_to_the_worker() -> None:
    jobs = [Job(request, (request, 2, 3), 80, at_ms=20_000.0 * request) for request in range(6)]
    models = HashModels(1, match=0.8, second=0.5)
    drafts = [
        latencies(models, jobs, 30.0, branches=2, rule="expected_arrival", mismatch="learned", latency_bound=bound)[1]
        for bound in (None, 1.0, 1.3)
    ]
    assert drafts[0] > drafts[1] > drafts[2]


# --- the switch -----------------------------------------------------------------------------------------------------


def test_a_useless_worker_is_left_out_and_tried_again() -> None:
    switch = WorkerSwitch(enabled=True)
    used = []
    for _ in range(WINDOW + 2 * RETRY):
        used.append(switch.use())
        if used[-1]:
            switch.finished(remote=0, verified=50)
    assert used == [True] * WINDOW + ([False] * (RETRY - 1) + [True]) * 2


def test_a_useful_worker_and_a_disabled_switch_change_nothing() -> None:
    for switch, remote in ((WorkerSwitch(enabled=True), 20), (WorkerSwitch(enabled=False), 0)):
        for _ in range(3 * WINDOW):
            assert switch.use()
            switch.finished(remote, verified=50)


def test_without_a_worker_a_request_is_colocated_speculation() -> None:
    """At 200 ms and with a drafter that is never right elsewhere, most requests end up without a worker."""
    jobs = [Job(request, (request, 2, 3), 30, at_ms=20_000.0 * request) for request in range(WINDOW + RETRY)]
    models = HashModels(1, match=0.5, second=0.0)
    loop = Loop(registry.get("wanspec"), WanspecParams(branches=2, phi=None, switch_off=True), models, rtt_ms=2_000.0)
    result = loop.run(jobs)
    worked = {one.request for one in result.passes if one.node != "target0"}
    assert len(worked) == WINDOW + 1
    base, _ = colocated(models, jobs)
    for job in jobs:
        assert tuple(result.outputs[job.request]) == models.reference(job)
        if job.request not in worked:
            assert result.finished_ms[job.request] - job.at_ms == pytest.approx(base[job.request])


# --- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"latency_bound": 1.02}, "need rule: expected_arrival"),
        ({"mismatch": "learned"}, "need rule: expected_arrival"),
        ({"rule": "expected_arrival", "latency_bound": 0.9}, "greater than or equal to 1"),
    ],
)
def test_options_that_would_do_nothing_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        registry.get("wanspec").parse(values)
