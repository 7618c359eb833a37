"""What a figure of a paper shows, reduced from tables small enough to check by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from testbed.reproduce.claims import Figure, Value
from testbed.reproduce.drawing import draw
from testbed.reproduce.figures import numbers
from testbed.reproduce.value import compute

PROMPTS = pd.DataFrame(
    {
        "network.rtt_ms": [10, 10, 10, 10, 70, 70],
        "policy": "wanspec",
        "status": "finished",
        "valid": True,
        "latency_ratio": [0.9, 0.7, 0.8, 0.8, 1.2, float("nan")],
        "latency_difference_ms": [-1.0, -3.0, -2.0, -2.0, 2.0, 4.0],
    }
)


def figure(**fields):
    said = {"name": "small", "kind": "cdf", "title": "Small", "sweep": "s", "x": "latency_ratio", "x_label": "x"}
    return Figure.model_validate({**said, "y_label": "y", "policies": ["wanspec"], **fields})


def test_a_distribution_is_the_share_of_prompts_not_larger():
    shown = numbers(figure(by="network.rtt_ms"), {"s": PROMPTS})
    near, far = (shown[shown["series"] == name] for name in ("10", "70"))
    assert near["x"].tolist() == [0.7, 0.8, 0.8, 0.9]
    assert near["y"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert (far["x"].tolist(), far["y"].tolist()) == ([1.2], [1.0])  # an undefined value is not a sample


def test_panels_take_what_they_do_not_say_from_the_figure():
    spec = figure(
        where={"network.rtt_ms": 10},
        panels=[{"title": "near"}, {"title": "far", "where": {"network.rtt_ms": 70}, "x": "latency_difference_ms"}],
    )
    shown = numbers(spec, {"s": PROMPTS})
    assert shown.groupby("panel", sort=False)["x"].apply(list).to_dict() == {
        "near": [0.7, 0.8, 0.8, 0.9],
        "far": [2.0, 4.0],
    }
    drawn = draw(spec, shown, {"wanspec": "wanspec"})
    assert [axes.get_title(loc="left") or axes.get_title() for axes in drawn.axes] == ["near", "far"]
    steps = [np.asarray(axes.lines[0].get_ydata()).tolist() for axes in drawn.axes]
    assert steps == [
        [0, 0.25, 0.5, 0.75, 1],
        [0, 0.5, 1],
    ]


def test_a_panel_of_points_that_are_not_valid_stamps_the_whole_figure():
    spec = figure(panels=[{"title": "near", "where": {"network.rtt_ms": 10}}, {"title": "all"}])
    table = PROMPTS.assign(valid=PROMPTS["network.rtt_ms"] == 10)
    drawn = draw(spec, numbers(spec, {"s": table}), {})
    assert [text.get_text() for text in drawn.texts if "SIMULATED" in text.get_text()] == ["NOT VALID\nSIMULATED"]


def test_a_paper_s_figure_says_that_it_was_simulated():
    spec = figure(panels=[{"title": "near", "where": {"network.rtt_ms": 10}}])
    drawn = draw(spec, numbers(spec, {"s": PROMPTS.assign(valid=True)}), {})
    assert [text.get_text() for text in drawn.texts] == ["SIMULATED"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [({"y": "latency_ratio"}, "a cdf has no y"), ({"kind": "lines"}, "a lines needs y")],
)
def test_a_figure_has_a_y_unless_it_is_a_distribution(fields, complaint):
    with pytest.raises(ValidationError, match=complaint):
        figure(**fields)


def test_where_finds_a_setting_that_is_a_mapping_and_per_divides_row_by_row():
    table = PROMPTS.assign(devices=['{"drafter": "d", "target": "a"}'] * 4 + ['{"drafter": "d", "target": "b"}'] * 2)
    chosen = {"name": "v", "policy": "wanspec", "where": {"devices": {"target": "b", "drafter": "d"}}, "reduce": "max"}
    value = Value.model_validate({**chosen, "metric": "latency_difference_ms"})
    assert (compute(value, table).number, compute(value, table).rows) == (4.0, 2)
    per = Value.model_validate({**chosen, "metric": "latency_difference_ms", "per": "network.rtt_ms"})
    assert compute(per, table).number == pytest.approx(4 / 70)


PAIRS = pd.DataFrame(
    {
        "place": [json.dumps({"target": one, "drafter": other}) for one in ("b", "a") for other in ("x", "y", "x")],
        "policy": "wanspec",
        "status": "finished",
        "valid": True,
        "latency_ratio": [0.8, 1.5, 1.0, 0.9, float("nan"), 0.7],
    }
)
MAP = {"kind": "map", "x": "place.drafter", "y": "place.target", "value": "latency_ratio"}


def test_a_map_has_the_median_of_each_pair_in_the_order_of_the_sweep():
    spec = figure(**MAP, neutral=1)
    shown = numbers(spec, {"s": PAIRS})
    cells = {(y, x): value for y, x, value in shown[["y", "x", "value"]].itertuples(index=False)}
    assert list(dict.fromkeys(shown["y"])) == ["b", "a"]
    assert cells[("b", "x")] == pytest.approx(0.9) and cells[("a", "x")] == pytest.approx(0.8)
    assert cells[("b", "y")] == 1.5 and np.isnan(cells[("a", "y")])
    (axes,) = draw(spec, shown, {}).axes
    assert {text.get_text() for text in axes.texts} == {"0.90", "0.80", "1.50"}, "every number is in its cell"
    assert [one.get_text() for one in axes.get_yticklabels()] == ["b", "a"]


def test_a_map_needs_a_value_and_nothing_else_has_one():
    with pytest.raises(ValidationError, match="a map needs value"):
        figure(**{**MAP, "value": None})
    with pytest.raises(ValidationError, match="a lines has no value"):
        figure(kind="lines", y="latency_ratio", value="latency_ratio")
    with pytest.raises(ValidationError, match="a map has none of by"):
        figure(**MAP, by="place")
