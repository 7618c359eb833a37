"""Each limit of a valid run trips, and trips exactly beyond its value."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from testbed.network.measure.probe import PairSample, verify
from testbed.results.reasons import ADVICE, Cause
from testbed.results.stamps import told
from testbed.results.validity import Counts, judge, link_tolerance_ms
from tests.results.tiny_log import COUNTS, Rows, altered, link, rows, run


def reasons(changed: Rows | None = None, counts: Counts = COUNTS, **manifest: Any) -> tuple[str, ...]:
    validity = judge(run(changed, **manifest), counts)
    assert validity.valid == (not validity.reasons)
    return validity.reasons


def busy_steps(overruns: int, overrun_ms: float) -> Rows:
    """A thousand passes, about ten seconds, the first few of which are late."""
    template = rows()["steps"][0]
    late = [overrun_ms] * overruns + [0.0] * (1000 - overruns - len(rows()["steps"]))
    return {"steps": rows()["steps"] + [msgspec.structs.replace(template, overrun_ms=ms) for ms in late]}


def test_a_clean_run_is_valid() -> None:
    assert reasons() == ()


@pytest.mark.parametrize(("specified", "allowed"), [(20.0, 0.3), (30.0, 0.3), (70.0, 0.7)])
def test_link_tolerance_is_a_floor_or_one_per_cent(specified: float, allowed: float) -> None:
    assert link_tolerance_ms(specified) == pytest.approx(allowed)


@pytest.mark.parametrize(
    ("specified", "error", "trips"),
    [(20.0, 0.3, False), (20.0, 0.301, True), (20.0, -0.301, True), (70.0, 0.7, False), (70.0, 0.701, True)],
)
def test_link_median(specified: float, error: float, trips: bool) -> None:
    found = reasons({"links": [link(specified=specified, median=specified + error, p99=specified + 1)]})
    assert len(found) == trips and all("median RTT" in reason for reason in found)


@pytest.mark.parametrize(("error", "trips"), [(2.0, False), (2.01, True)])
def test_link_p99(error: float, trips: bool) -> None:
    found = reasons({"links": [link(p99=20.0 + error)]})
    assert len(found) == trips and all("p99" in reason for reason in found)


def test_of_a_repeated_check_the_better_one_counts_whole() -> None:
    stray = [link("after", p99=25.0), link("again after", p99=20.5)]
    assert reasons({"links": stray}) == () == reasons({"links": stray[::-1]})
    moved = [link("after", p99=22.5), link("again after", median=21.0, p99=21.5)]
    assert "median RTT 21.00 ms is +1.00 ms off" in reasons({"links": moved})[0]
    lasting = [link("after", p99=25.0), link("again after", p99=23.0)]
    (reason,) = reasons({"links": lasting})
    assert "again after the run): RTT p99 is +3.00 ms off" in reason


def test_link_without_an_answer_and_run_without_a_link_check() -> None:
    (reason,) = reasons({"links": [link(received=0, median=float("nan"), p99=float("nan"))]})
    assert "none of 200 probe packets came back" in reason
    assert reasons({"links": []}) == ("no link was checked against its specification",)
    assert reasons({"links": []}, engine="simulation") == ()


def test_a_tail_may_be_left_open_by_one_check_but_not_by_all() -> None:
    unknown = float("nan")
    assert reasons({"links": [link("before", p99=unknown, received=40, sent=40), link("after")]}) == ()
    few = [link("before", p99=unknown, received=40, sent=40), link("after", p99=unknown, received=60, sent=60)]
    (reason,) = reasons({"links": few})
    assert "p99 not measured: at most 60 probe packets" in reason


@pytest.mark.parametrize(("after", "trips"), [(20.1, False), (20.11, True)])
def test_drift_is_judged_between_checks(after: float, trips: bool) -> None:
    found = reasons({"links": [link("before", median=19.8), link("after", median=after)]})
    assert len(found) == trips and all("drifted" in reason for reason in found)


def test_a_specification_that_moves_with_its_trace_is_no_drift() -> None:
    assert reasons({"links": [link("before"), link("after", specified=30.0, median=30.1, p99=31.0)]}) == ()


def test_one_unmatched_packet() -> None:
    (reason,) = reasons(counts=Counts(unmatched_packets=1, requests_per_policy=2))
    assert "unmatched packets" in reason


def loss(src: str, dst: str) -> dict[str, Any]:
    return {"topology": {"loss": {src: {dst: 0.01}}}}


def test_one_lost_probe_of_a_link_without_loss() -> None:
    (reason,) = reasons({"links": [link(received=199)]})
    assert "target0 to drafter0 (before the run): 1 of 200 probe packets lost" in reason
    (reason,) = reasons({"links": [link(received=199)]}, **loss("west", "elsewhere"))
    assert "1 of 200 probe packets lost" in reason


@pytest.mark.parametrize(("src", "dst"), [("east", "west"), ("west", "east")])
def test_a_pair_that_is_lossy_either_way_may_lose_probes(src: str, dst: str) -> None:
    assert reasons({"links": [link(received=150)]}, **loss(src, dst)) == ()


@pytest.mark.parametrize("received", [200, 199, 150])
@pytest.mark.parametrize("error_ms", [0.0, 0.31])
@pytest.mark.parametrize("lossy", [False, True])
def test_the_probe_and_the_summary_agree_on_a_link(received: int, error_ms: float, lossy: bool) -> None:
    median = 20.0 + error_ms
    sample = PairSample("target0", "drafter0", 20.0, median, 21.0, 10.0, 200, received)
    during_the_run = verify([sample], [("target0", "drafter0")] if lossy else [])
    row = link(median=median, received=received)
    assert bool(reasons({"links": [row]}, **(loss("east", "west") if lossy else {}))) == bool(during_the_run)


def test_dropped_packets_are_a_reason_unless_a_link_has_a_rate_and_so_a_buffer_that_may_be_full() -> None:
    dropped = Counts(0, 2, dropped_packets=3)
    (reason,) = reasons(counts=dropped)
    assert reason.endswith("without a rate: 3")
    assert reasons(counts=dropped, **loss("east", "west")) == (reason,), "a loss model drops apart from this"
    assert reasons(counts=dropped, topology={"rate_bps": {"east": {"west": 1_000_000}}}) == ()
    narrowed = {"seed": 1, "events": [{"loss": None, "rate_mbit": 5.0}]}
    assert reasons(counts=dropped, scenario=narrowed) == ()


def test_packets_lost_or_cut_as_asked_are_no_reason() -> None:
    assert reasons(counts=Counts(0, 2, lost_packets=3, cut_packets=4)) == ()


def test_stale_messages_are_no_reason() -> None:
    assert reasons(counts=Counts(0, 2, stale_messages=3)) == ()


@pytest.mark.parametrize(("overruns", "trips"), [(9, False), (10, True)])
def test_overruns_by_number(overruns: int, trips: bool) -> None:
    found = reasons(busy_steps(overruns, 0.1))
    assert len(found) == trips and all("allowed: 1% of passes" in reason for reason in found)


@pytest.mark.parametrize(("overrun_ms", "trips"), [(90.0, False), (110.0, True)])
def test_overruns_by_time(overrun_ms: float, trips: bool) -> None:
    found = reasons(busy_steps(1, overrun_ms))
    assert len(found) == trips and all("allowed: 1% of busy time" in reason for reason in found)


def of_device(policy: str, node: str, kind: str, number: int, late: int, overrun_ms: float = 0.1) -> list[Any]:
    """Passes of 10 ms of one device, the first few of them late."""
    template = rows()["steps"][0]
    return [
        msgspec.structs.replace(
            template, policy=policy, node=node, kind=kind, job=1000 + one, overrun_ms=overrun_ms if one < late else 0.0
        )
        for one in range(number)
    ]


def with_steps(*more: list[Any]) -> Rows:
    return {"steps": [*rows()["steps"], *(step for of_one in more for step in of_one)]}


@pytest.mark.parametrize(("late", "trips"), [(4, False), (5, True)])
def test_a_busy_policy_cannot_hide_a_device_of_another(late: int, trips: bool) -> None:
    quiet = of_device("autoregressive", "target0", "verify", 20_000, 0)
    found = reasons(with_steps(quiet, of_device("wanspec", "target0", "draft", 400, late)))
    assert len(found) == trips
    for reason in found:  # three passes of the tiny log are the same device's
        assert reason.startswith("wanspec: draft passes on target0: 1.2% of 403 took longer"), reason


def test_devices_with_few_passes_are_judged_together_and_in_the_end_with_all() -> None:
    few = [of_device("wanspec", f"west{node}", "draft", 150, 3) for node in range(2)]
    (reason,) = reasons(with_steps(*few))
    assert reason.startswith("wanspec: draft passes on 4 nodes together: 2.0% of 306 took longer")
    assert reasons(with_steps(few[0], of_device("autoregressive", "target0", "verify", 400, 0))) == ()
    (reason,) = reasons(with_steps(few[0]))
    assert reason.startswith("all devices together: ")


def test_of_several_late_nodes_the_worst_is_named() -> None:
    late = [of_device("wanspec", f"west{node}", "draft", 300, 4 + node) for node in range(3)]
    (reason,) = reasons(with_steps(*late, of_device("wanspec", "west3", "draft", 300, 0)))
    assert reason.startswith(
        "wanspec: draft passes on west2, the worst of 3 late nodes among 4: 2.0% of 300 took longer"
    )


def test_each_reason_says_what_to_do_and_one_cause_says_it_once_to_people() -> None:
    bad = {"links": [link(median=25.0), link("after", median=25.0)], **busy_steps(11, 0.1)}
    validity = judge(run(bad), Counts(unmatched_packets=1, requests_per_policy=2))
    assert len(validity.advice) == len(validity.reasons) > 3 and set(validity.advice) <= set(ADVICE.values())
    lines = told({"reasons": validity.reasons, "advice": validity.advice})
    assert len(lines) == len(validity.reasons) + len(set(validity.advice))
    assert lines[-1] == f"-> {ADVICE[Cause.LATE_PASSES]}"
    old = told({"reasons": validity.reasons})
    assert old == validity.reasons, "a run of a version that gave no advice"


def test_every_cause_has_its_advice() -> None:
    assert set(ADVICE) == set(Cause)
    assert all(len(line) < 200 and not line.endswith(".") for line in ADVICE.values())


@pytest.mark.parametrize(("late_ms", "trips"), [(5.0, False), (5.1, True)])
def test_dispatch_delay(late_ms: float, trips: bool) -> None:
    late_ns = round(late_ms * 1e6)
    late = [msgspec.structs.replace(request, scheduled_ns=request.sent_ns - late_ns) for request in rows()["requests"]]
    found = reasons({"requests": late})
    assert len(found) == trips and all("late (median)" in reason for reason in found)


def test_lossless_mismatch_and_not_compared() -> None:
    (reason,) = reasons(altered("requests", 4, lossless=False))
    assert reason.startswith("wanspec: 1 of its outputs")
    assert reasons(altered("requests", 4, lossless=None)) == ()


def test_missing_request_and_policy_that_never_ran() -> None:
    # Its rows are gone from all tables, as when the request never finished.
    gone = {kind: [r for r in of_kind if (r.policy, r.request) != ("wanspec", 1)]
            for kind, of_kind in rows().items() if kind != "links"}  # fmt: skip
    assert reasons(gone) == ("wanspec: 1 of 2 requests finished",)


@pytest.mark.parametrize(
    ("changed", "law"),
    [
        (altered("requests", 2, tokens=(1, 2)), "the tokens kept"),
        (altered("requests", 2, chunk_tokens=(3, 2)), "arrived in chunks"),
        (altered("rounds", 5, emitted=2), "rounds emitted"),
        ({"requests": [*rows()["requests"], rows()["requests"][0]]}, "logged twice"),
        ({"steps": [step for step in rows()["steps"] if step.kind != "verify"]}, "more rounds than verify"),
        (altered("steps", 0, request=9), "belong to no logged request"),
    ],
)
def test_invariant_4_a_log_that_contradicts_itself_is_not_valid(changed: Rows, law: str) -> None:
    assert any("contradicts itself" in reason and law in reason for reason in reasons(changed))
