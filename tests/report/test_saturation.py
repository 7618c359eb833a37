"""What `testbed capacity --out` writes: both tables and the curves, from rows as the verb's JSON has them."""

import numpy as np
import pandas as pd
import pytest

from testbed.errors import BadInput
from testbed.report.saturation import CAPACITIES, CURVES, FIGURE, check, draw, write


def point(users, emitted, good):
    offered = {"users": users, "requests": 10 * users, "offered_tokens_per_s": 8.0 * users}
    goodput = {f"goodput_{scope}": good for scope in ("per_request", "per_user", "fleet")}
    return {**offered, "emitted_tokens_per_s": emitted, "tokens_per_s_per_user": emitted / users, **goodput}


def row(policy, capacity):
    curve = [point(8, 100.0, 100.0), point(16, 160.0, 90.0), point(32, 170.0, 0.0)]
    return {"policy": policy, "prompts": "prose", "tokens_per_s": 8.0, "capacity": capacity, "capacity_low": 9,
            "by_class": [[8.0, 10, 1]], "not_monotone": ["fleet"], "window": "whole", "seeds": [1, 2],
            "curve": curve}  # fmt: skip


def test_tables_and_figure_hold_every_search(tmp_path):
    written = write([row("wisp", 12), row("centralised", None), row("sled", 0)], tmp_path)
    assert [path.name for path in written] == [CAPACITIES, CURVES, FIGURE]
    lines = pd.read_csv(tmp_path / CAPACITIES)
    assert lines["policy"].tolist() == ["wisp", "centralised", "sled"] and "curve" not in lines
    assert lines["seeds"].tolist() == ["1 2"] * 3 and lines["not_monotone"].tolist() == ["fleet"] * 3
    points = pd.read_csv(tmp_path / CURVES)
    assert len(points) == 9 and points["window"].unique().tolist() == ["whole"]
    assert points["goodput_per_user"].tolist()[:3] == [100.0, 90.0, 0.0]
    figure = (tmp_path / FIGURE).read_text()
    assert figure.startswith("<?xml") and figure.count('<g id="axes_') == 3


def test_a_panel_shows_all_sizes_and_the_capacity():
    panel = draw([row("wisp", 12)]).axes[0]
    assert panel.get_xlim()[0] == 0 and panel.get_xlim()[1] > 32 and panel.get_ylim()[1] > 170
    lines = {line.get_label(): np.asarray(line.get_xdata()).tolist() for line in panel.lines}
    assert lines["emitted"] == lines["goodput, fleet"] == [8, 16, 32]
    assert np.asarray(panel.lines[-1].get_xdata()).tolist() == [12, 12]


def test_the_same_rows_give_the_same_bytes_and_a_file_in_the_way_is_refused(tmp_path):
    each = [write([row("wisp", 12)], tmp_path / name) for name in ("a", "b") if check(tmp_path / name) is None]
    assert [path.read_bytes() for path in each[0]] == [path.read_bytes() for path in each[1]]
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="--out"):
        check(tmp_path / "file")
