"""From what a pilot measured to a dilation and a verdict: exact."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from testbed.emulation.plan import (
    HAND_OVER_MS,
    LEAST_FREE_MB,
    NORMAL_QUANTILE,
    STEPS,
    Job,
    Machine,
    Pilot,
    Trial,
    as_manifest,
    decide,
    held_share,
    jobs_of,
    late_share,
    needs,
    quantile,
)
from testbed.results.records import Step

QUIET = Machine(cores=4, busy_cores=0.5, others_cores=0.0, memory_mb=300.0, free_mb=8000.0)
STEP = Step("p", 0, "target0", "near", "target", 1, 1, "verify", 0, 0, 100, 10.0, 4.0, 0.0, 0, 1)


def jobs(real_ms: float, paced_ms: float = 10.0, count: int = 400, node: str = "target0") -> list[Job]:
    return [Job("p", node, "verify", paced_ms, real_ms - HAND_OVER_MS)] * count


def pilot(fabric: str = "netem", wall_s: float = 1.0, **changes: Any) -> Pilot:
    made = Pilot(1.0, fabric, jobs(5.0), [Trial("p", wall_s, 1.0)], passes=400, late=0, machine=QUIET)
    return made._replace(**changes)


# --- jobs and quantiles ---


def test_the_passes_of_a_job_belong_together_and_a_batch_is_one_pass_of_all_its_members() -> None:
    second = replace(STEP, started_ns=100, finished_ns=200, real_ms=5.0)
    other = replace(STEP, job=2, paced_ms=20.0, real_ms=7.0, batch=2)
    native, recorded = replace(STEP, job=3, paced_ms=0.0), replace(STEP, job=4, real_ms=0.0)
    assert jobs_of([STEP, second, other, replace(other, request=2), native, recorded]) == [
        Job("p", "target0", "verify", 20.0, 9.0),
        Job("p", "target0", "verify", 20.0, 7.0),
    ]


def test_of_many_the_quantile_is_one_of_them() -> None:
    assert quantile([float(n) for n in range(1000, 0, -1)]) == 997.0


def test_of_few_it_is_where_a_lognormal_law_has_it() -> None:
    ratios = [math.exp(x) for x in (-1.0, 0.0, 1.0)]
    assert quantile(ratios) == pytest.approx(math.exp(NORMAL_QUANTILE))
    assert quantile([0.3]) == pytest.approx(0.3)
    assert quantile([0.5] * 20) == pytest.approx(0.5)


def test_what_a_lognormal_law_says_of_few_is_near_what_many_say() -> None:
    """Of a true lognormal sample, drawn at its own quantiles."""
    from statistics import NormalDist

    law = NormalDist(-1.0, 0.25)
    many = [math.exp(law.inv_cdf((n + 0.5) / 2000)) for n in range(2000)]
    few = [math.exp(law.inv_cdf((n + 0.5) / 40)) for n in range(40)]
    assert quantile(few) == pytest.approx(quantile(many), rel=0.05)


def test_the_most_demanding_device_comes_first() -> None:
    found = needs([*jobs(5.0), *jobs(9.0, node="drafter0", count=3)])
    assert [(one.node, one.jobs, round(one.most, 3)) for one in found] == [("drafter0", 3, 0.9), ("target0", 400, 0.5)]


# --- decisions ---


@pytest.mark.parametrize("fabric", ["netem", "lab", "relay"])
def test_a_machine_that_keeps_up_leaves_time_alone(fabric: str) -> None:
    plan = decide(pilot(fabric))
    assert (plan.dilation, plan.pace, plan.held_share, plan.late_share, plan.valid) == (1.0, 1.0, 0.0, 0.0, True)
    assert plan.fix is None and not plan.refused
    assert plan.why == "real passes and the shaper keep up"


@pytest.mark.parametrize(("ratio", "dilation"), [(0.99, 1.0), (1.1, 1.25), (2.0, 2.0), (2.6, 3.0), (43.0, 50.0)])
def test_where_packets_do_not_wait_every_job_gets_its_time(ratio: float, dilation: float) -> None:
    plan = decide(pilot("lab", jobs=jobs(10.0 * ratio)))
    assert plan.dilation == dilation and plan.valid
    assert ("verify jobs on target0" in plan.why) == (dilation > 1)


def test_where_packets_wait_the_clock_may_be_held_for_a_fifth_of_the_time() -> None:
    """Jobs of twice their time and a machine that takes 1.2 s for a second: a fifth of it is no reason to dilate."""
    late = jobs(20.0)
    assert decide(pilot("relay", 1.2, jobs=late)).dilation == 1.0
    plan = decide(pilot("relay", 3.0, jobs=late))
    assert plan.dilation == 2.5 and plan.held_share == pytest.approx(1 - 2.5 / 3)
    assert plan.pace == 3.0, "what has to be computed takes as long either way"
    assert "takes 3 s for a second of the run" in plan.why


def test_no_hold_may_come_near_the_timeout_of_tcp() -> None:
    """A pass of 510 ms paced at 10: held for 500 ms at N = 1. Beyond the pass's own N times 10, 100 N are left."""
    plan = decide(pilot("relay", 1.1, jobs=jobs(510.0)))
    assert plan.dilation == 5.0 and "longer than TCP waits" in plan.why


def test_a_hold_of_more_than_half_a_percent_asks_for_more_time_where_packets_do_not_wait() -> None:
    assert decide(pilot("netem", 1.004)).dilation == 1.0
    plan = decide(pilot("netem", 1.1))
    assert plan.dilation == 1.25 and plan.valid


def test_processors_count_where_packets_do_not_wait() -> None:
    machine = QUIET._replace(busy_cores=3.0, others_cores=2.0)
    plan = decide(pilot("netem", machine=machine))
    assert plan.dilation == 2.0 and "wants 3.0 cores of the 2.0 that others leave" in plan.why
    assert decide(pilot("relay", machine=machine)).dilation == 1.0, "holds say it there"


def test_a_pilot_at_another_dilation_says_the_same() -> None:
    """Jobs take what they take; half of the time at 2 is the whole of it at 1."""
    assert decide(pilot("lab", dilation=2.0, jobs=jobs(25.0), wall_s=2.0)).dilation == 2.5
    assert decide(pilot("relay", dilation=2.0, wall_s=4.0)).pace == 4.0


# --- what does not fit ---


def test_more_than_the_largest_dilation_is_refused_with_what_to_change() -> None:
    plan = decide(pilot("lab", jobs=jobs(600.0)))
    assert plan.refused and plan.fix is not None and not plan.valid
    assert "dilation 60, and 50 is the most; fix: a smaller or lean model" in plan.fix
    assert STEPS[-1] == 50


def test_passes_too_short_to_hold_the_clock_for_are_refused() -> None:
    """A tenth of them late is no chance, and no dilation is known that helps."""
    plan = decide(pilot("relay", late=41))
    assert plan.refused and plan.fix is not None and plan.fix.startswith("10% of the pilot's passes were late though")
    assert not decide(pilot("relay", late=40)).refused
    assert not decide(pilot("relay", late=400), wanted=1.0).refused, "what was asked for is only judged"


def test_recorded_answers_that_are_late_get_the_dilation_at_which_they_are_not() -> None:
    """Of 400 two may be, half of what is allowed. A lateness is this machine's, so of the run it is an Nth."""
    late = [5.0, 2.0, 0.55, 0.5, 0.4, 0.35]
    found = pilot("relay", jobs=(), late=len(late), answers_late_ms=late)
    plan = decide(found)
    assert (plan.dilation, plan.late_share, plan.valid) == (2.0, 2 / 400, True)
    assert plan.why == "1.5% of the pilot's recorded answers were handed on late"
    assert late_share(found, 1.5) == 4 / 400 and late_share(found, 1.0) == 6 / 400
    few = late[:2]
    assert decide(found._replace(late=2, answers_late_ms=few)).dilation == 1.0
    assert decide(found._replace(dilation=2.0)).dilation == 4.0
    assert decide(found._replace(late=60, answers_late_ms=[0.4] * 60)).dilation == 1.5, "many are no matter, but long"


def test_recorded_answers_that_no_dilation_has_in_time_are_refused() -> None:
    late = [100.0] * 60
    plan = decide(pilot("relay", jobs=(), late=60, answers_late_ms=late))
    assert plan.refused and plan.fix is not None and "handed on late, which is dilation 333" in plan.fix


def test_native_devices_are_not_dilated() -> None:
    plan = decide(pilot("lab", jobs=jobs(15.0), native=["target"]))
    assert plan.refused and plan.fix is not None and plan.dilation == 1.0
    assert "devices.target is native and cannot be dilated; fix: give it a device profile" in plan.fix
    assert decide(pilot("lab", native=["target"])).valid


def test_a_machine_without_memory_is_refused_whatever_was_asked_for() -> None:
    machine = QUIET._replace(free_mb=LEAST_FREE_MB - 1)
    for wanted in (None, 4.0):
        plan = decide(pilot("relay", machine=machine), wanted)
        assert plan.refused and plan.fix is not None
        assert plan.fix.startswith("only 63 MB of memory are free with all nodes up (the run holds 0.3 GB); fix: fewer")
    assert decide(pilot("relay", machine=QUIET._replace(free_mb=None, memory_mb=None))).valid


# --- a dilation that was asked for ---


def test_what_was_asked_for_is_kept_and_judged() -> None:
    plan = decide(pilot("lab", 1.5, jobs=jobs(15.0)), wanted=1.0)
    assert plan.dilation == 1.0 and not plan.valid and not plan.refused
    assert plan.reasons == ("dilation 1: the clock would be held for 33.3% of the time, allowed 1% on lab",)
    assert plan.fix is not None and "; fix: time.dilation=2 would do (" in plan.fix
    assert decide(pilot("lab", 1.5, jobs=jobs(15.0)), wanted=4.0).valid


def test_less_time_than_asked_for_is_counted_job_by_job() -> None:
    """400 jobs in a second of the run, each 1 ms over at N = 0.5: they hold it for 0.4 of 0.9 s."""
    one = pilot("lab", jobs=jobs(6.0))
    assert held_share(one, 1.0) == 0.0
    assert held_share(one, 0.5) == pytest.approx(0.4 / 0.9)
    assert not decide(one, wanted=0.5).valid


def test_on_the_relay_a_run_is_valid_down_to_a_fifth_of_its_speed() -> None:
    assert decide(pilot("relay", 4.9), wanted=1.0).valid
    plan = decide(pilot("relay", 5.1), wanted=1.0)
    assert plan.reasons == ("dilation 1: the clock would run at 0.20 of its speed, 0.2 is the least",)


# --- the verdict ---


@pytest.mark.parametrize(("late", "valid"), [(0, True), (4, True), (8, True), (9, False)])
def test_late_passes_count_beyond_chance(late: int, valid: bool) -> None:
    """Of 400, 4 are allowed; 9 less two times 3 is 3, and 13 less 7.2 more than 4."""
    assert decide(pilot(late=late, passes=400 if valid else 100)).valid == valid


def test_a_network_out_of_tolerance_is_a_reason() -> None:
    plan = decide(pilot(links=["link a to b: off"]))
    assert plan.reasons == ("link a to b: off",) and not plan.refused


def test_recorded_answers_have_no_real_passes() -> None:
    plan = decide(pilot("relay", 1.3, jobs=[]))
    assert plan.dilation == 1.25 and plan.valid


def test_a_pilot_in_which_nothing_ended_says_nothing_of_the_pace() -> None:
    assert decide(pilot("relay", trials=[])).pace == 1.0
    assert pilot("relay", trials=[]).pace == 0.0


def test_the_manifest_has_the_needs_and_the_verdict() -> None:
    one = pilot("lab", jobs=jobs(15.0))
    told = as_manifest(one, decide(one))
    assert {key: told[key] for key in ("dilation", "valid", "measured_at", "fabric")} == {
        "dilation": 1.5, "valid": True, "measured_at": 1.0, "fabric": "lab",
    }  # fmt: skip
    assert told["needs"] == [
        {"policy": "p", "node": "target0", "kind": "verify", "jobs": 400, "paced_ms": 10.0, "median": 1.5, "most": 1.5}
    ]
