"""What a soak calls flat, and what a leak: on series made up here, and on this very process."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.bench.flatness import Verdict, judge
from testbed.bench.processes import Held, descendants, held, name_of

MINUTES = 120


def series(memory_kb: Callable[[float], float], descriptors: Callable[[float], int] = lambda minute: 10) -> Verdict:
    """Two hours, a sample each ten seconds; judged after twelve minutes."""
    samples = [
        Held(at * 10.0, 50_000, 40_000, round(memory_kb(at / 6)), descriptors(at / 6), 3, at * 0.1)
        for at in range(MINUTES * 6)
    ]
    found = judge("node", 1, samples, 12 * 60.0)
    assert found is not None
    return found


def test_noise_and_a_warm_up_are_flat() -> None:
    chance = random.Random(1)
    found = series(lambda minute: min(30_000, 20_000 + 2_000 * minute) + chance.gauss(0, 300))
    assert found.flat and found.cpu_share == pytest.approx(0.01, rel=0.01)
    assert found.anonymous_kb.median == pytest.approx(30_000, rel=0.01)


@pytest.mark.parametrize("kb_a_minute", [7, 20, 500])
def test_a_steady_rise_above_two_per_cent_is_not(kb_a_minute: float) -> None:
    found = series(lambda minute: 30_000 + kb_a_minute * minute)
    assert not found.flat
    assert found.anonymous_kb.rise == pytest.approx(kb_a_minute * (MINUTES - 12), rel=0.02)


def test_a_step_up_that_stays_is_not() -> None:
    assert not series(lambda minute: 30_000 if minute < 70 else 32_000).flat


def test_descriptors_that_come_and_go_are_flat_and_one_that_stays_is_not() -> None:
    assert series(lambda minute: 30_000, lambda minute: 10 + (minute % 10 < 3)).flat
    assert not series(lambda minute: 30_000, lambda minute: 10 + (minute > 90)).flat


def test_a_process_that_lives_shortly_is_judged_on_its_later_half_or_not_at_all() -> None:
    samples = [Held(float(at), 1, 1, 1_000 if at > 10 else 1, 4, 1, 0.0) for at in range(30)]
    found = judge("watch", 1, samples, 720.0)
    assert found is not None and found.flat and found.samples == 15
    assert judge("short", 1, samples[:6], 720.0) is None
    assert judge("never", 1, [], 720.0) is None


def test_what_this_process_holds_is_seen(tmp_path: Path) -> None:
    before = held(os.getpid(), 0.0)
    grown = mmap.mmap(-1, 20 << 20, flags=mmap.MAP_PRIVATE)  # its own pages: an allocator might take what it has
    grown.write(b"x" * len(grown))
    with (tmp_path / "one").open("w"):
        after = held(os.getpid(), 1.0)
    assert before is not None and after is not None and grown
    assert after.anonymous_kb - before.anonymous_kb > 15 << 10
    assert after.descriptors == before.descriptors + 1
    assert os.getpid() in descendants(os.getppid())
    assert held(1 << 22, 0.0) is None and name_of(1 << 22) is None
