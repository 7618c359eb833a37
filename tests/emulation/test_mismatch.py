"""A difference from the reference is placed exactly and comes with what tells a numerical tie from a defect."""

import pytest

from testbed.emulation.lossless import first_mismatch
from testbed.models.reference import Reference
from testbed.results.records import RequestRow

REFERENCE = Reference((4, 5, 6), (0.5, 1e-6, 2.0), (0.1, 0.2, 0.3))


def row(tokens):
    return RequestRow("wanspec", 0, "user0", 9, "p1", 3, len(tokens), 0, 0, 0, 0, (), (), tokens, None)


@pytest.mark.parametrize(
    ("tokens", "position", "gap"),
    [((4, 7, 6), 1, 1e-6), ((9, 5, 6), 0, 0.5), ((4, 5), 2, None), ((4, 5, 6, 7), 3, None)],
)
def test_the_first_difference_is_placed_with_its_gap(tokens, position, gap):
    found = first_mismatch(row(tokens), REFERENCE)
    assert (found.output_position, found.top2_gap) == (position, gap)
    assert (found.policy, found.request, found.prompt_id) == ("wanspec", 9, "p1")
