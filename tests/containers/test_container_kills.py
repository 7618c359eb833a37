"""kill -9 of a node's container and of the container engine: named once, in time, and nothing is left (invariant 5).

Two of the trials of `python -m testbed.bench kill --kind container --kind daemon`; docs/reliability.md has more.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'docker>=7.1'")

from testbed.bench.kill import Trial, plan, trial
from testbed.bench.victims import Kind
from testbed.containers import daemon

# the first test to run waits for the images, which are built from nothing on a fresh machine
pytestmark = [pytest.mark.docker, pytest.mark.shaped, pytest.mark.slow, pytest.mark.timeout(900)]

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
DRAWS = 4  # a moment that comes when the victim has ended already is drawn again


def test_a_killed_container_is_named_and_nothing_is_left(container_engine, node_images):
    assert killed("container").problems == ()


def test_a_killed_engine_is_named_once_and_nothing_is_left_when_it_runs_again(container_engine, node_images):
    if daemon.running() is None:
        pytest.skip("the engine that answers is not the testbed's own, so it is not killed")
    assert killed("daemon").problems == ()


def killed(kind: Kind) -> Trial:
    for number in count():
        one = trial(plan(number, 3, [kind], ["relay"]), QUICKSTART)
        if one.killed or one.problems:
            return one
        assert number < DRAWS, "the run was over before, every time"
    raise AssertionError
