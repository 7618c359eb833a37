"""Claims about capacities, estimates and predictors: their tables, bounds, and one policy held against another."""

from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from testbed.errors import BadInput
from testbed.reproduce.claims import CapacityEntry, Claims, EstimatorEntry, Value
from testbed.reproduce.measured import ESTIMATE, capacity_table, measured
from testbed.reproduce.value import compute, emulated
from testbed.reproduce.verdict import within
from testbed.simulation.probing import named
from testbed.sweeps.capacity import Searched
from testbed.sweeps.run import SweepOptions


def searched(policy, rate, users, high=None, error=None, draws=()):
    found = {"capacity": users, "capacity_low": users - 2, "capacity_high": high, "capacity_per_user": None,
             "violations": 0.01, "token_goodput": 10.0, "draws": {"capacity": list(draws)}}  # fmt: skip
    return Searched(policy, rate, None if error else found, error)


TABLE = capacity_table(
    [
        searched("wisp", 2.0, 300), searched("centralised", 2.0, 300), searched("sled", 2.0, 100, 103),
        searched("wisp", 8.0, 80, 85), searched("centralised", 8.0, 300), searched("sled", 8.0, 20, 23),
        searched("wisp", 9.0, 80, 85), searched("sled", 9.0, 0, 1, error="it came to rest"),
    ],
    most_users=300,
)  # fmt: skip


def value(rate, **fields):
    asked: Any = {"name": "users", "metric": "capacity", "where": {"tokens_per_s": rate}, **fields}
    return Value.model_validate(asked)


def test_a_capacity_has_its_interval_and_says_where_the_search_ended():
    ours = compute(value(8, policy="sled"), TABLE)
    assert (ours.number, ours.interval, ours.bound) == (20, (18, 23), "")
    ended = compute(value(2, policy="wisp"), TABLE)
    assert (ended.number, ended.interval, ended.bound) == (300, None, "at least")


def test_a_mixed_fleet_has_a_row_of_its_name_and_what_each_class_attained():
    entry = CapacityEntry(file="fleet.yaml", rates_per_s=[4, [2, 8]])
    assert entry.fleets == [4.0, (2.0, 8.0)]
    mixed = {"capacity": 50, "capacity_low": 48, "by_class": [[2.0, 40, 0], [8.0, 160, 8]]}
    table = capacity_table([Searched("wisp", named(entry.fleets[1]), mixed, None)], most_users=300)
    asked: Any = {"name": "users", "policy": "wisp", "where": {"tokens_per_s": "2+8"}}
    numbers = [compute(Value(metric=metric, **asked), table).number for metric in ("attainment_8", "attainment_2")]
    assert numbers == [0.95, 1.0]


def test_a_failed_search_is_no_value():
    with pytest.raises(BadInput, match="no finished point"):
        compute(value(9, policy="sled"), TABLE)


@pytest.mark.parametrize(
    ("rate", "over", "number", "bound"),
    [
        (8, "sled", 4.0, ""),
        (2, "sled", 3.0, "at least"),
        (8, "centralised", 80 / 300, "at most"),
        (2, "centralised", None, ""),
    ],
)
def test_a_ratio_of_bounds_is_a_bound_and_of_two_bounds_nothing(rate, over, number, bound):
    ours = compute(value(rate, policy="wisp", over=over), TABLE)
    assert ours.number == (None if number is None else pytest.approx(number))
    assert ours.number is None or ours.bound == bound
    assert ours.interval is None  # the policies' own are not the ratio's


def test_a_ratio_of_capacities_has_the_interval_of_resamples_that_belong_together():
    """Luck of the prompts that moves both policies alike moves no ratio."""
    both = [80 + at for at in range(41)]
    table = capacity_table(
        [
            searched("wisp", 8.0, 100, draws=both),
            searched("sled", 8.0, 50, draws=[one / 2 for one in both]),
            searched("centralised", 8.0, 50, draws=[50] * 41),
        ],
        most_users=300,
    )  # fmt: skip
    paired = compute(value(8, policy="wisp", over="sled"), table)
    assert (paired.number, paired.interval) == (2.0, (2.0, 2.0))
    alone = compute(value(8, policy="wisp", over="centralised"), table)
    assert alone.interval == pytest.approx((1.62, 2.38))
    less = compute(value(8, policy="wisp", less="centralised"), table)
    assert less.number == 50 and less.interval == pytest.approx((31, 69))


def test_a_bound_is_outside_a_range_only_where_it_must_be():
    ended = compute(value(2, policy="wisp"), TABLE)
    assert within(ended, value(2, policy="wisp", range=[100, 400])) is None
    assert within(ended, value(2, policy="wisp", range=[100, 200])) is False
    most = compute(value(8, policy="wisp", over="centralised"), TABLE)
    assert within(most, value(8, policy="wisp", over="centralised", range=[1.8, 2.4])) is False
    assert within(most, value(8, policy="wisp", over="centralised", range=[0.1, 2.4])) is None


def test_one_policy_is_subtracted_from_another_at_the_same_point_and_validity_is_of_both():
    table = pd.DataFrame(
        {
            "point": [0, 0, 1, 1], "seed": [1, 1, 2, 2], "policy": ["a", "b"] * 2, "status": "finished",
            "valid": [True, True, True, False], "share": [0.9, 0.7, 0.8, 0.7],
        }
    )  # fmt: skip
    asked: Any = {"name": "gain", "metric": "share", "policy": "a", "less": "b"}
    whole = compute(Value.model_validate({**asked, "reduce": "median"}), table)
    assert whole.number == pytest.approx(0.15) and not whole.valid
    one = compute(Value.model_validate({**asked, "where": {"seed": 1}}), table)
    assert one.number == pytest.approx(0.2) and one.valid


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValidationError, match="use only one"):
        value(2, policy="wisp", over="sled", less="sled")
    with pytest.raises(BadInput, match="in a table only"):
        emulated(value(2, policy="wisp", over="sled"), {"policies": {}})
    with pytest.raises(BadInput, match="bounded in some rows only"):
        compute(value([2, 8], policy="wisp", reduce="median"), TABLE)


CLAIM = {
    "id": "P3", "paper": "R2 over 0.98", "sweep": "estimator", "why": "said",
    "values": [{"name": "R2", "metric": "r2", "policy": ESTIMATE, "reduce": "median"}],
}  # fmt: skip


def test_a_source_is_named_once_and_a_claim_names_one_that_is_there():
    estimator = {"devices": ["a100-80gb/qwen3-32b"]}
    made = Claims.model_validate({"title": "t", "cite": "c", "estimators": {"estimator": estimator}, "claims": [CLAIM]})
    assert made.sources == ["estimator"]
    with pytest.raises(ValidationError, match="two sources are called 'estimator'"):
        Claims.model_validate({**made.model_dump(), "predictors": {"estimator": {"table": "tiny-prose"}}})
    with pytest.raises(ValidationError, match="no sweep 'estimator'"):
        Claims.model_validate({**made.model_dump(), "estimators": {"estimate": estimator}})


def test_an_estimate_is_a_row_for_each_device_and_seed(tmp_path):
    entry = EstimatorEntry(devices=["a100-80gb/qwen3-32b"], seeds=[0, 1])
    claims = Claims.model_validate(
        {"title": "t", "cite": "c", "estimators": {"estimator": entry.model_dump()}, "claims": [CLAIM]}
    )
    silent: Any = None
    table = measured(claims, tmp_path, SweepOptions(out=tmp_path), progress=silent)["estimator"]
    assert table["seed"].tolist() == [0, 1] and (table["r2"] > 0.9).all()
    assert compute(claims.claims[0].values[0], table).number == pytest.approx(table["r2"].median())
