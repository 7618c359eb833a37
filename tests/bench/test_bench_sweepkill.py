"""One of the sweeps that `python -m testbed.bench sweepkill` kills and resumes (invariants 3 and 5)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from testbed.bench.sweepkill import Trial, sentence


@pytest.mark.slow
def test_a_sweep_that_was_killed_again_and_again_ends_with_the_tables_of_one_that_was_not() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed.bench", "sweepkill", "--count", "1", "--seed", "2"],
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sweeps killed and resumed: 1 of 1 identical" in done.stdout


def test_a_difference_is_said_and_fails() -> None:
    trial = Trial(1, False, 1, (3, 7), 0, ("sweep.csv",))
    assert not trial.passed
    assert sentence(trial) == "1: 1 workers, killed at point 3, 7: DIFFERS: sweep.csv"
