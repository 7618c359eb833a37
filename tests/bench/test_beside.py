"""What keeps a machine busy beside a trial is there, computes, and is gone with the block."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from testbed.bench.beside import LOOPS, NOTHING, beside
from testbed.emulation.usage import ticks

HERE = Path(__file__).resolve().parents[2]


def test_loops_compute_and_end_with_the_block() -> None:
    with beside(LOOPS, HERE, cores=2) as pids:
        assert len(set(pids)) == 2
        deadline = time.monotonic() + 60
        while (used := ticks(pids).of_run) and not all(used.get(pid, 0) > 5 for pid in pids):
            assert time.monotonic() < deadline, f"ticks of the loops: {used}"
            time.sleep(0.05)
    assert not set(ticks(pids).of_run), "both have ended"


def test_they_end_where_the_trial_fails() -> None:
    with pytest.raises(RuntimeError), beside(LOOPS, HERE, cores=1) as pids:
        raise RuntimeError
    assert not ticks(pids).of_run


def test_beside_nothing_there_is_nothing() -> None:
    with beside(NOTHING, HERE) as pids:
        assert not pids
