"""kill -9 of whatever a run consists of: the run ends in time, names what was killed, and leaves nothing (invariant 5).

Six of the trials of `python -m testbed.bench kill`; docs/reliability.md has many more. The engine: `test_killed_run`.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

from testbed.bench.kill import Trial, plan, trial
from testbed.bench.victims import Kind

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
DRAWS = 4  # a moment that comes when the victim has ended already is drawn again


@pytest.mark.parametrize(
    ("kind", "fabric"),
    [
        ("template", "relay"),
        ("node", "relay"),
        ("worker", "relay"),
        ("fabric", "relay"),
        pytest.param(
            "fabric", "lab", marks=pytest.mark.skipif(shutil.which("linux.uml") is None, reason="no user-mode-linux")
        ),
        ("probe", "relay"),
    ],
)
def test_what_is_killed_is_named_and_nothing_is_left(kind: Kind, fabric: str) -> None:
    assert killed(kind, fabric).problems == ()


def killed(kind: Kind, fabric: str) -> Trial:
    for number in count():
        one = trial(plan(number, 3, [kind], [fabric]), QUICKSTART)
        if one.killed or one.problems:
            return one
        assert number < DRAWS, "the run was over before, every time"
    raise AssertionError
