"""The stages of a run cover its whole time, and each is named once."""

from __future__ import annotations

from testbed.emulation.stages import CHECK, NETWORK, NODES, REQUESTS, STAGES, Stages, said


def test_stages_add_up_to_the_time_of_the_run_and_one_that_comes_back_adds_to_itself() -> None:
    now = [10.0]
    stages = Stages(lambda: now[0])
    for stage, at in ((NETWORK, 12.0), (NODES, 15.0), (REQUESTS, 20.0), (NODES, 90.0), (CHECK, 91.5)):
        now[0] = at
        stages.begin(stage)
    now[0] = 95.0
    assert stages.seconds() == {"inputs": 2.0, "network": 3.0, "nodes": 6.5, "requests": 70.0, "check": 3.5}
    assert list(stages.seconds()) == [stage for stage in STAGES if stage in stages.seconds()]


def test_a_line_says_what_there_is_beside_the_requests() -> None:
    line = said({"inputs": 2.04, "requests": 70.0, "check": 3.5})
    assert line == "requests took 70.0 s, the rest 5.5 s (inputs 2.0, check 3.5)"
