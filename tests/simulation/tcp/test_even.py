"""A direction without losses, computed without events: the same times as event by event."""

from __future__ import annotations

import random

import pytest

from testbed.simulation.tcp.even import Even
from testbed.simulation.tcp.segments import MSS_BYTES
from tests.simulation.tcp.scripted import MS, tell

RTT_MS = 40.0


def messages(seed: int) -> list[tuple[float, int]]:
    """Dense and sparse, small and large, with pauses around a timeout; no two things at one moment."""
    draw = random.Random(seed)
    gaps = draw.choice([(0.3, 2.0), (2.0, 9.0), (5.0, 60.0)])
    at_ms, made = 0.0, []
    for number in range(150):
        at_ms += draw.uniform(*gaps) if draw.random() < 0.95 else draw.uniform(200, 900)
        size = draw.randrange(40, 300) if draw.random() < 0.93 else draw.randrange(1000, 60 * MSS_BYTES)
        made.append((round(at_ms, 3) + number * 1e-5, size))
    return made


@pytest.mark.parametrize("seed", range(12))
def test_the_times_are_those_of_the_stream_on_the_same_link(seed: int) -> None:
    made = messages(seed)
    even = Even(round(RTT_MS * MS))
    computed = [(even.leaves_ns(round(at_ms * MS), size) / MS + RTT_MS / 2) for at_ms, size in made]
    assert computed == pytest.approx(tell(made, RTT_MS).arrived_ms, abs=1e-6)


def test_messages_that_nothing_holds_back_leave_at_once() -> None:
    even = Even(40 * MS)
    assert [even.leaves_ns(at * 8 * MS, 100) for at in range(1000)] == [at * 8 * MS for at in range(1000)]
