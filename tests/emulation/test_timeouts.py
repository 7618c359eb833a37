"""How long a phase may be silent: longer where links come back late, shorter where something is gone for good."""

from __future__ import annotations

from typing import Any

from testbed.emulation.timeouts import GIVE_UP_S, STALLED_S, Patience, patience
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario


def scenario(*events: dict[str, Any]) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "one",
            "topology": "two-sites",
            "workload": {"prompts": "prose", "requests": 1, "output_tokens": 10},
            "models": {"target": "tiny-target", "draft": "tiny-draft"},
            "place": {"user": "near", "target": "near", "drafter": "far"},
            "policies": ["autoregressive"],
            "events": list(events),
        }
    )


def of(*events: dict[str, Any]) -> Patience:
    return patience(resolve(scenario(*events)), [])


CUT = {"at_s": 10, "link": ["near", "far"], "up": False}
HEAL = {"at_s": 40, "heal": True}


def test_without_events_it_is_a_minute_beyond_the_work_and_then_the_run_ends() -> None:
    still = of()
    assert STALLED_S < still.limit_s < STALLED_S + 20 and not still.gives_up


def test_after_a_cut_that_heals_tcp_has_as_long_again_to_come_back() -> None:
    patient = of(CUT, HEAL)
    assert not patient.gives_up
    assert patient.limit_s - of().limit_s == 40 + 30


def test_a_link_that_comes_back_is_waited_for_even_where_something_else_is_gone_for_good() -> None:
    stop = {"at_s": 5, "stop_node": "drafter0"}
    both = of(stop, CUT, HEAL)
    assert both.gives_up and both.limit_s - of(stop).limit_s == 40 + 30


def test_what_is_gone_for_good_is_given_up_soon_after() -> None:
    work_s = of().limit_s - STALLED_S
    stopped = of({"at_s": 5, "stop_node": "drafter0"})
    assert stopped == of({**CUT, "at_s": 5})
    assert stopped.gives_up and abs(stopped.limit_s - (5 + GIVE_UP_S + work_s)) < 1e-9
