"""An event that came when a phase's requests had all ended is said wherever a run's results are."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from testbed.report import validity_statement
from testbed.results.summary import summarise
from testbed.results.table import render
from tests.results.tiny_log import COUNTS, run

CUT = {"at_s": 2.0, "link": {"from": "east", "to": "west"}, "up": False}
HEAL = {"at_s": 5.0, "heal": True}
PHASES = [
    {"policy": policy, "repeat": repeat, "lasted_s": lasted_s}
    for policy, repeat, lasted_s in [("speculative", 0, 4.0), ("wanspec", 0, 3.0), ("speculative", 1, 6.0)]
]


def summary(phases: list[dict[str, Any]], *events: dict[str, Any]) -> dict[str, Any]:
    return summarise(run(phases=phases, scenario={"seed": 1, "events": list(events)}), COUNTS)


def test_an_event_is_unmet_in_the_phases_that_ended_before_it() -> None:
    (found,) = summary(PHASES, CUT, HEAL)["unmet_events"]
    assert found == {"at_s": 5.0, "event": "all links up", "of_phases": 3, "phases": PHASES[:2]}


def test_nothing_is_said_where_every_event_was_met_or_nobody_kept_how_long_phases_took() -> None:
    assert "unmet_events" not in summary(PHASES, CUT)
    assert "unmet_events" not in summary([], HEAL)
    assert "unmet_events" not in summarise(run(), COUNTS)


def test_it_makes_no_run_invalid_and_is_on_the_terminal_and_in_the_report() -> None:
    found = summary(PHASES, CUT, HEAL)
    assert found["validity"]["valid"]
    said = (
        "all links up, at 5 s: affected no request in 2 of 3 trials (speculative, wanspec), "
        "which had all ended after 4.0 s"
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(found, run().manifest["policies"]))
    text = console.export_text()
    assert "EVENTS AFTER THE LAST REQUEST" in text and said in text
    assert any(said in one for one in validity_statement.statements(found, run().manifest))
