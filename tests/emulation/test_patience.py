"""How long a phase may be silent: longer where links come back late, shorter where something is gone for good."""

from __future__ import annotations

from testbed.emulation.patience import GIVE_UP_S, STALLED_S, patience
from testbed.network.fabric import Link
from testbed.network.schedule import LinkSchedule, PairEvent, PairSchedule
from testbed.scenario import Scenario

S = 1_000_000_000
PLACE = {"user0": "near", "target0": "near", "drafter0": "far"}


def scenario(*events: dict[str, object]) -> Scenario:
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


def schedule(*events: PairEvent) -> LinkSchedule:
    links = [Link(a, b, 10.0) for a in PLACE for b in PLACE if a != b]
    return LinkSchedule(links, PLACE, {("near", "far"): PairSchedule(None, events)} if events else {})


def test_without_events_it_is_a_minute_beyond_the_work_and_then_the_run_ends() -> None:
    still = patience(scenario(), schedule(), [])
    assert STALLED_S < still.limit_s < STALLED_S + 20 and not still.gives_up


def test_after_a_cut_that_heals_tcp_has_as_long_again_to_come_back() -> None:
    cut = scenario({"at_s": 10, "link": ["near", "far"], "up": False}, {"at_s": 40, "heal": True})
    there = schedule(PairEvent(10 * S, up=False), PairEvent(40 * S, up=True))
    patient = patience(cut, there, [])
    assert not patient.gives_up
    assert patient.limit_s - patience(scenario(), schedule(), []).limit_s == 40 + 30


def test_a_link_that_comes_back_is_waited_for_even_where_something_else_is_gone_for_good() -> None:
    stop = {"at_s": 5, "stop_node": "drafter0"}
    there = schedule(PairEvent(10 * S, up=False), PairEvent(40 * S, up=True))
    only_stopped = patience(scenario(stop), schedule(), [])
    cut = {"at_s": 10, "link": ["near", "far"], "up": False}
    both = patience(scenario(stop, cut, {"at_s": 40, "heal": True}), there, [])
    assert both.gives_up and both.limit_s - only_stopped.limit_s == 40 + 30


def test_what_is_gone_for_good_is_given_up_soon_after() -> None:
    work_s = patience(scenario(), schedule(), []).limit_s - STALLED_S
    stopped = patience(scenario({"at_s": 5, "stop_node": "drafter0"}), schedule(), [])
    cut = patience(
        scenario({"at_s": 5, "link": ["near", "far"], "up": False}), schedule(PairEvent(5 * S, up=False)), []
    )
    assert stopped == cut
    assert stopped.gives_up and abs(stopped.limit_s - (5 + GIVE_UP_S + work_s)) < 1e-9
