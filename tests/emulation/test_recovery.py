"""After a phase in which links were cut, the next one begins when TCP uses them again, however the cut ended."""

from __future__ import annotations

import pytest

from testbed.emulation.conditions import recovery_s
from testbed.network.spec.schedule import PairEvent, PairSchedule

S = 1_000_000_000


@pytest.mark.parametrize(
    ("heals_at_s", "ended_at_s", "waits_s"),
    [
        (None, 9, 0),  # the phase was over before the cut
        (None, 15, 10),
        (100, 15, 10),  # healed by the end of the phase, not by its own event
        (12, 13, 3),  # healed, and a connection may not have noticed
        (12, 16, 0),
        (None, 1000, 120.0),
    ],
)
def test_twice_as_long_as_links_were_cut_less_what_has_passed_since(
    heals_at_s: int | None, ended_at_s: int, waits_s: float
) -> None:
    heals = () if heals_at_s is None else (PairEvent(heals_at_s * S, up=True),)
    cut = PairSchedule(None, (PairEvent(10 * S, up=False), *heals))
    assert recovery_s([PairSchedule(), cut], ended_at_s * S) == waits_s


@pytest.mark.parametrize(("dilation", "waits_s"), [(0.25, 480), (1, 120), (4, 30)])
def test_the_longest_timeout_is_wall_time(dilation: float, waits_s: float) -> None:
    cut = PairSchedule(None, (PairEvent(10 * S, up=False),))
    assert recovery_s([cut], 1000 * S, dilation) == waits_s
