"""The bench of links that change on time: every link at every step; late is until the links are in force."""

from __future__ import annotations

from itertools import islice

import pytest

from testbed.bench.replay import SECONDS, alternating, of_steps
from testbed.errors import MachineCannot
from testbed.network.live.replay import Applied
from testbed.network.measure.probe import P99_PROBES

MS = 1_000_000


def test_every_link_changes_at_every_step_ten_times_a_second() -> None:
    names = ["a", "b", "c"]
    steps = list(islice(alternating(names, seed=1).steps(), 5))
    assert [step.at_ns for step in steps] == [100 * MS * number for number in range(1, 6)]
    assert all(len(step.links) == 6 for step in steps)
    assert steps[0].links != steps[1].links and steps[0].links == steps[2].links


def test_there_are_steps_enough_for_a_99th_percentile() -> None:
    (first,) = islice(alternating(["a", "b"], seed=1).steps(), 1)
    assert SECONDS * 1000 * MS // first.at_ns > P99_PROBES


def test_lateness_counts_until_the_links_are_in_force() -> None:
    steps = [Applied(0, 1 * MS, (2 + (number == 7)) * MS, 2) for number in range(200)]
    figure = of_steps("relay", steps)
    assert (figure.low, figure.value, figure.high) == (2.0, 2.0, 3.0)


def test_a_replay_that_hardly_went_on_makes_no_figure() -> None:
    with pytest.raises(MachineCannot, match="only 3 steps"):
        of_steps("relay", [Applied(0, 0, 1, 1)] * 3)
