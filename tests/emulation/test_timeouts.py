"""How long a phase may be silent: longer where links come back late, shorter where something is gone for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from testbed.emulation.phases import CONTROL_S, control_s
from testbed.emulation.timeouts import GIVE_UP_S, STALLED_S, Patience, patience, refuse_long_cuts
from testbed.errors import BadInput
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario


def test_many_nodes_may_be_silent_for_longer() -> None:
    """250 that begin at once on two cores beside other programs: the first had not begun after 20 s."""
    assert control_s(250) > 5 * control_s(5) > 5 * CONTROL_S


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


def test_a_cut_that_a_dilated_tcp_cannot_carry_is_refused() -> None:
    """TCP waits for 120 s of wall time at the most, so a cut of 30 s is right up to a dilation of almost 4."""
    cut = resolve(scenario(CUT, HEAL))
    for dilation in (0.25, 1, 3.9):
        refuse_long_cuts(replace(cut, dilation=dilation))
    with pytest.raises(BadInput, match=r"events: (near to far|far to near) is cut for 30 s.*right up to 29\.. s"):
        refuse_long_cuts(replace(cut, dilation=4))


def test_what_never_heals_has_no_timeout_to_come_back_from() -> None:
    refuse_long_cuts(replace(resolve(scenario(CUT)), dilation=50))


def test_undilated_tcp_is_as_it_is() -> None:
    long = resolve(scenario(CUT, {"at_s": 400, "heal": True}))
    refuse_long_cuts(long)
    with pytest.raises(BadInput, match="is cut for 390 s"):
        refuse_long_cuts(replace(long, dilation=0.5))
