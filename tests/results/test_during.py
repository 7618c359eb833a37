"""The in-run probe and the replay's log: windows, what is lost, what is late, and what makes a run not valid."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.results import during
from testbed.results.records import ProbeRow, ReplayRow
from testbed.results.store import frame_of
from testbed.results.validity import judge
from tests.results.tiny_log import COUNTS, altered, link, ns, rows, run

MS = 1_000_000


def probe(number: int, error_ms: float | None = 0.0, comparable: bool = True, specified_ms: float = 20.0) -> ProbeRow:
    rtt_ms = None if error_ms is None else specified_ms + error_ms
    return ProbeRow("wanspec", 0, "drafter0", "target0", number * 200 * MS, specified_ms, rtt_ms, specified_ms / 2,
                    None if rtt_ms is None else rtt_ms / 2, comparable)  # fmt: skip


def step(number: int, late_ms: float, took_ms: float = 0.5) -> ReplayRow:
    due_ns = number * 100 * MS
    applied_ns = due_ns + round(late_ms * MS)
    return ReplayRow("wanspec", 0, number, "series", due_ns, applied_ns - round(took_ms * MS), applied_ns, 2)


def reasons(probes: list[ProbeRow] | None = None, replay: list[ReplayRow] | None = None, **manifest: Any):
    return judge(run({"probes": probes or [], "replay": replay or []}, **manifest), COUNTS).reasons


def test_a_window_is_about_fifty_probes_in_the_order_of_sending() -> None:
    probes = frame_of("probes", [probe(n, 0.1 if n < 50 else 0.4) for n in reversed(range(120))])
    windows = during.windows(probes)
    assert windows["probes"].tolist() == [60, 60]
    assert windows["error_ms"].round(6).tolist() == [0.1, 0.4]
    assert windows["sent_ns"].tolist() == [0, 60 * 200 * MS]


def test_few_probes_say_nothing_and_those_that_met_a_change_do_not_count() -> None:
    few = [probe(n, 5.0) for n in range(during.FEWEST_PROBES - 1)]
    unfair = [probe(n, 5.0, comparable=False) for n in range(200)]
    assert during.windows(frame_of("probes", few + unfair)).empty
    assert reasons(few + unfair) == ()


@pytest.mark.parametrize(("error_ms", "trips"), [(0.3, False), (0.31, True), (-0.31, True)])
def test_drift_of_one_window_voids_the_run_in_one_line(error_ms: float, trips: bool) -> None:
    found = reasons([probe(n, error_ms if 50 <= n < 100 else 0.0) for n in range(150)])
    assert len(found) == trips
    assert all("1 of 3 windows" in reason and f"{error_ms:+.2f} ms off" in reason for reason in found)


def test_the_tolerance_is_that_of_the_specification_at_the_time() -> None:
    """1 % of 100 ms while a series had the link there."""
    assert reasons([probe(n, 0.9, specified_ms=100.0) for n in range(60)]) == ()


def test_a_probe_lost_by_a_link_without_loss_voids_the_run() -> None:
    (reason,) = reasons([*(probe(n) for n in range(60)), probe(60, None)])
    assert "1 of 61 in-run probes lost" in reason
    assert reasons([*(probe(n) for n in range(60)), probe(60, None, comparable=False)]) == ()


@pytest.mark.parametrize(("late_ms", "trips"), [(8.0, False), (8.1, True)])
def test_a_replay_later_than_the_bound_voids_the_run(late_ms: float, trips: bool) -> None:
    found = reasons(replay=[step(0, 0.5), step(1, late_ms)])
    assert len(found) == trips and all("8.1 ms late" in reason for reason in found)


def test_of_many_steps_the_99th_percentile_counts_of_few_the_latest() -> None:
    stray = [step(n, 1.0 if n else 50.0) for n in range(200)]
    assert during.late_ms(frame_of("replay", stray)) == pytest.approx(1.0)
    assert during.late_ms(frame_of("replay", stray[:50])) == pytest.approx(50.0)
    assert during.late_ms(frame_of("replay", [])) is None


def test_the_summary_has_both_and_null_where_there_was_none() -> None:
    assert during.summary(frame_of("probes", []), frame_of("replay", [])) == {"during": None, "replay": None}
    said = during.summary(frame_of("probes", [probe(n, 0.2) for n in range(60)]), frame_of("replay", [step(0, 1.5)]))
    assert said["during"] == {"pairs": 1, "probes": 60, "comparable": 60, "lost": 0, "windows": 1,
                              "worst_median_error_ms": 0.2, "p99_error_ms": 0.2}  # fmt: skip
    assert said["replay"] == {"steps": 1, "links_changed": 2, "late_p99_ms": 1.5, "took_median_ms": 0.5}


def test_requests_given_up_are_said_to_be_as_asked() -> None:
    short = [row for row in rows()["requests"] if (row.policy, row.request) != ("wanspec", 1)]
    changed = {"requests": short}
    found = judge(run(changed, given_up={"wanspec": [1]}), COUNTS).reasons
    assert found == ("wanspec: 1 of 2 requests finished; 1 timed out as expected: an event cut off what they needed",)


def test_a_pass_that_a_stop_of_its_node_held_up_is_no_overrun() -> None:
    """Its device did not take longer: it was switched off, as asked."""
    late = altered("steps", -1, overrun_ms=9000.0, finished_ns=ns(9000))  # wanspec, on the target
    stop = ReplayRow("wanspec", 0, 0, "stopped: node target0", ns(125), ns(125), ns(125), 0)
    assert any("busy time" in reason for reason in judge(run(late), COUNTS).reasons)
    assert judge(run({**late, "replay": [stop]}), COUNTS).reasons == ()
    other = ReplayRow("wanspec", 0, 0, "stopped: node drafter0", ns(125), ns(125), ns(125), 0)
    assert any("busy time" in reason for reason in judge(run({**late, "replay": [other]}), COUNTS).reasons)


def test_a_link_with_jitter_may_spread_that_far_and_no_further() -> None:
    jitter = {"loss": {}, "jitter_ms": {"east": {"west": 2.0}, "west": {"east": 2.0}}}
    wide = {"links": [link(median=20.7, p99=25.9), link("after", median=20.2, p99=25.0)]}
    assert judge(run(wide, topology=jitter), COUNTS).reasons == ()
    assert len(judge(run(wide), COUNTS).reasons) >= 2
    wider = {"links": [link(median=22.0, p99=26.1)]}
    assert len(judge(run(wider, topology=jitter), COUNTS).reasons) == 2
