"""What `testbed capacity --out` writes: the capacities, the saturation curve of each search, and the curves drawn.

A curve shows goodput, by each scope, and emitted tokens over the load that was offered; the one number is a vertical
line in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.files.whole import check_folder, replacing
from testbed.report.style import BLUE, GREEN, GREY, VERMILION, drawing, new_figure, stamp
from testbed.results.stamps import SIMULATED
from testbed.workload.slo import SCOPES

CAPACITIES, CURVES, FIGURE = "capacities.csv", "curves.csv", "saturation.svg"
KEYS = ("policy", "prompts", "tokens_per_s", "window")
COLUMNS = 2
PANEL_IN = 2.3
LEGEND_IN = 0.6
LINES = {"goodput_per_request": (VERMILION, "-"), "goodput_per_user": (BLUE, "--"), "goodput_fleet": (GREEN, ":")}


def check(folder: Path) -> None:
    """BadInput where nothing can be written, before hours of search."""
    check_folder(folder)


def write(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """`rows`: those of the verb's JSON."""
    paths = [folder / name for name in (CAPACITIES, CURVES, FIGURE)]
    lines = [{key: _cell(value) for key, value in row.items() if key != "curve"} for row in rows]
    points = [{**{key: row[key] for key in KEYS}, **point} for row in rows for point in row["curve"]]
    for path, table in zip(paths[:2], (lines, points), strict=True):
        with replacing(path) as partial:
            pd.DataFrame(table).to_csv(partial, index=False)
    with drawing(FIGURE), replacing(paths[2]) as partial:
        draw(rows).savefig(partial, format="svg", metadata={"Date": None, "Creator": None, "Title": "saturation"})
    return paths


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel for each search, all of one rate on one scale."""
    height = LEGEND_IN + PANEL_IN * -(-len(rows) // COLUMNS)
    figure, axes = new_figure(height, -(-len(rows) // COLUMNS), COLUMNS)
    for panel, row in zip(axes, rows, strict=False):
        _panel(panel, row)
    for empty in axes[len(rows) :]:
        empty.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3)
    stamp(figure, [SIMULATED])
    return figure


def _panel(axes: Axes, row: Mapping[str, Any]) -> None:
    points = pd.DataFrame(row["curve"])
    users = points["users"]
    title = f"{row['policy']}\n{row['tokens_per_s']} tokens/s, {row['prompts']}"
    axes.set(title=title, xlabel="users", ylabel="tokens/s")
    axes.plot(users, points["offered_tokens_per_s"], color=GREY, linewidth=0.8, label="offered")
    axes.plot(users, points["emitted_tokens_per_s"], color=GREY, linestyle="-.", label="emitted")
    for scope in SCOPES:
        name = f"goodput_{scope}"
        colour, dash = LINES[name]
        label = f"goodput, {scope.replace('_', ' ')}"
        axes.plot(users, points[name], color=colour, linestyle=dash, marker="o", markersize=2.4, label=label)
    # after the lines: an end that is left open is where it was
    axes.set(xlim=(0, 1.05 * users.max()), ylim=(0, 1.15 * points["emitted_tokens_per_s"].max()))
    if row.get("capacity") is not None:
        axes.axvline(row["capacity"], color=VERMILION, linewidth=0.8, linestyle=(0, (4, 2)))


def _cell(value: Any) -> Any:
    """Lists are one cell."""
    return " ".join(str(one) for one in value) if isinstance(value, list) else value
