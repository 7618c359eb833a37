"""An open loop that offers more than is served is told so wherever a run's results are; one that keeps up is not."""

from __future__ import annotations

import io
import random
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from testbed.report import validity_statement
from testbed.results.overload import overload, sentence
from testbed.results.summary import summarise
from testbed.results.table import render
from tests.results.tiny_log import COUNTS, run

S = 1_000_000_000
POISSON = {"poisson": {"rate_per_s": 1.0}}


def served_in_turn(service_s: float, requests: int, seed: int = 1, repeat: int = 0) -> pd.DataFrame:
    """One server, one request per second on average, each taking `service_s`."""
    draws = random.Random(seed)
    came = free = 0.0
    rows = []
    for number in range(requests):
        came += draws.expovariate(1.0)
        free = max(came, free) + service_s
        rows.append(
            {"policy": "p", "repeat": repeat, "request": number, "scheduled_ns": came * S, "finished_ns": free * S}
        )
    return pd.DataFrame(rows)


def found(requests: pd.DataFrame, arrivals: object = POISSON) -> list[dict[str, Any]]:
    return overload(requests, {"scenario": {"workload": {"arrivals": arrivals}}})


@pytest.mark.parametrize("requests", [100, 200, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_twice_what_can_be_served_is_said(requests: int, seed: int) -> None:
    (one,) = found(served_in_turn(2.0, requests, seed))
    assert one["served_per_s"] == pytest.approx(0.5, rel=0.2)
    assert one["open_at_last"] == pytest.approx(requests / 2, rel=0.4)
    assert "were open when the last arrived" in sentence(one)


@pytest.mark.parametrize("requests", [20, 50, 200, 1000])
@pytest.mark.parametrize("seed", range(20))
def test_a_busy_server_that_keeps_up_is_not(requests: int, seed: int) -> None:
    assert found(served_in_turn(0.7, requests, seed)) == []


def test_each_phase_is_for_itself_and_users_that_wait_for_their_answers_overload_nobody() -> None:
    both = pd.concat([served_in_turn(0.5, 100), served_in_turn(3.0, 100, repeat=1)])
    (one,) = found(both)
    assert one["repeat"] == 1 and sentence(one).startswith("p, repeat 2: ")
    assert found(both, "sequential") == found(both, {"closed_loop": {"stagger_s": 1.0}}) == []


def test_it_makes_no_run_invalid_and_is_on_the_terminal_and_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    piled = found(served_in_turn(3.0, 100))
    monkeypatch.setattr("testbed.results.summary.overload", lambda requests, manifest: piled)
    summary = summarise(run(), COUNTS)
    assert summary["validity"]["valid"] and summary["overload"] == piled
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(render(summary, run().manifest["policies"]))
    text = console.export_text()
    assert "OVERLOAD: more requests than could be served" in text and sentence(piled[0]) in text
    assert any(sentence(piled[0]) in one for one in validity_statement.statements(summary, run().manifest))


def test_nothing_is_said_of_a_run_that_kept_up() -> None:
    assert "overload" not in summarise(run(), COUNTS)
