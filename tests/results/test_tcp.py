"""TCP's timers and what it sent again: when they make a run not valid, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.emulation.measuring import tcp_of_phase
from testbed.report.validity_statement import statements
from testbed.results import tcp
from testbed.results.reasons import ADVICE, Cause
from testbed.results.summary import summarise
from testbed.results.validity import judge
from testbed.wire.tcpinfo import TcpState
from tests.results.tiny_log import COUNTS, run

STEADY = {("user0", "target0"), ("target0", "user0")}


def manifest(
    dilation: float = 1.0,
    timeout_ms: float = 242.0,
    sent_again: int = 0,
    to: str = "target0",
    control: str = "reno",
    duplicates: int = 0,
) -> dict[str, Any]:
    there = TcpState(timeout_ms, sent_again, duplicates)
    connections = {("user0", to): there, (to, "user0"): TcpState(timeout_ms + 9, 0, 0)}
    phase = tcp_of_phase("wanspec", 1, connections, STEADY)
    clock_phase = {"policy": "wanspec", "repeat": 1, "wall_s": 4.0, "virtual_s": 4.0 / dilation, "held_share": 0.0,
                   "speed": 1 / dilation, "holders": {}, "began": "", "began_ns": 0}  # fmt: skip
    return {
        "fabric": "relay",
        "clock": {"dilation": dilation, "phases": [clock_phase]},
        "connection_congestion_control": control,
        "tcp": {"least_timeout_ms": 200.0 * dilation, "phases": [phase]},
    }


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (manifest(), ""),
        (manifest(control="cubic"), ""),
        (manifest(4.0, 842.0), ""),
        (manifest(4.0, 790.0), ""),  # timeouts are whole jiffies
        (manifest(4.0, 789.9), "timeout was 790 ms of wall time, at dilation 4 it is 800 ms at least"),
        (manifest(4.0, 842.0, control="cubic"), "congestion control cubic, which counts in wall time; dilation 4"),
        (
            manifest(sent_again=1),
            "TCP, wanspec, repeat 1: 1 segments were missing on links without loss",
        ),
        (manifest(0.25, 60.0, sent_again=3), "3 segments were missing on links without loss"),
        (manifest(sent_again=3, duplicates=3), ""),
        (manifest(sent_again=3, duplicates=1), "2 segments were missing on links without loss"),
        (manifest(sent_again=3, duplicates=4), ""),
        (manifest(sent_again=9, to="lossy0"), ""),
    ],
)
def test_what_is_judged(told: dict[str, Any], said: str) -> None:
    found = list(tcp.reasons(told))
    assert len(found) == bool(said)
    assert all(said in one for one in found)


def test_it_makes_a_run_not_valid_and_says_what_to_do() -> None:
    told = judge(run(**manifest(sent_again=2)), COUNTS)
    assert not told.valid
    assert told.advice == (ADVICE[Cause.TCP],)
    assert judge(run(**manifest()), COUNTS).valid


def test_summary_and_report_say_it() -> None:
    read = run(**manifest(4.0, 842.0, sent_again=2, to="lossy0", duplicates=1))
    summary = summarise(read, COUNTS)
    assert summary["tcp"] == {
        "congestion_control": "reno",
        "least_timeout_ms": 800.0,
        "shortest_timeout_ms": 842.0,
        "sent_again": 2,
        "duplicates": 1,
        "repaired_without_loss": 0,
    }
    (said,) = (one for one in statements(summary, read.manifest) if one.startswith("TCP"))
    assert "reno" in said and "842 ms" in said and "800 ms" in said and "2 segments" in said


def test_runs_of_before_are_read_as_before() -> None:
    assert tcp.summary({}) is None
    assert list(tcp.reasons({})) == []
    assert "tcp" not in summarise(run(), COUNTS)


def test_errors_of_links_stand_in_wall_time_beside_the_runs() -> None:
    read = run(**manifest(4.0, 842.0))
    links = summarise(read, COUNTS)["links"]
    assert links["wall"]["p99_error_ms"] == pytest.approx(4 * links["p99_error_ms"])
    assert links["wall"]["worst_median_error_ms"] == pytest.approx(4 * links["worst_median_error_ms"])
    (said,) = (one for one in statements(summarise(read, COUNTS), read.manifest) if one.startswith("Links:"))
    assert "By this machine's clock, which goes 4 times as fast as the run's" in said
