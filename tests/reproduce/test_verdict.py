"""Verdicts against a paper's ranges: in the direction of what is seen, with an interval, and as a family."""

import pytest

from testbed.reproduce.claims import Value
from testbed.reproduce.value import Ours
from testbed.reproduce.verdict import verdicts


def value(low, high):
    return Value.model_validate({"name": "n", "metric": "m", "policy": "p", "range": [low, high]})


def seen(number, half, **more):
    return Ours(number, (number - half, number + half), True, 1, **more)


def test_what_lies_clearly_outside_or_inside_is_sure():
    outside, inside = verdicts([(seen(2.0, 0.1), value(0.8, 1.0)), (seen(0.9, 0.02), value(0.8, 1.0))])
    assert outside.within is False and outside.sure and inside.within is True and inside.sure


def test_an_interval_that_reaches_over_an_end_makes_neither_sure():
    out, near = verdicts([(seen(1.05, 0.1), value(0.8, 1.0)), (seen(0.99, 0.1), value(0.8, 1.0))])
    assert (out.within, out.sure, near.within, near.sure) == (False, False, True, False)


def test_a_p_value_is_of_the_side_that_faces_the_end():
    """1.96 spreads of the lower side from the range: 2.5 % of one side, doubled as either side could be."""
    ours = Ours(1.2, (1.0, 9.0), True, 1)
    (one,) = verdicts([(ours, value(0.8, 1.0))])
    assert one.p == pytest.approx(0.05, abs=1e-6)


def test_the_more_values_are_judged_the_surer_each_must_be():
    judged = (seen(1.15, 0.12), value(0.8, 1.0))  # p = 0.014
    (alone,) = verdicts([judged])
    family = verdicts([judged] * 10)
    assert alone.sure and not any(one.sure for one in family)
    assert family[0].corrected == pytest.approx(10 * alone.p)


def test_without_an_interval_of_its_own_nothing_is_tested():
    """Bounds, middle halves of several points, and values without range or interval are no members of the family."""
    ranged = value(0.8, 1.0)
    untested = [
        (Ours(2.0, None, True, 1), ranged),
        (seen(2.0, 0.1, bound="at least"), ranged),
        (seen(2.0, 0.1, spread=True), ranged),
        (seen(2.0, 0.1), Value.model_validate({"name": "n", "metric": "m", "policy": "p"})),
        (Ours(None, None, True, 0), ranged),
    ]
    found = verdicts([*untested, (seen(2.0, 0.1), ranged)])
    assert [one.p for one in found[:5]] == [None] * 5 and [one.within for one in found[:3]] == [False] * 3
    assert found[5].corrected == found[5].p
