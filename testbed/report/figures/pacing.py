"""Real against emulated compute: how long each kind of pass really took, and the device time it was held to.

Rule kept: a figure has as many rows as can be read. Where single nodes are more, those of a site share a row.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from testbed.report.style import DRAFT, MOST_ROWS, VERIFY, VERMILION, new_figure
from testbed.results.metrics.base import busy_ms


def share_rows(steps: pd.DataFrame) -> bool:
    """Whether single nodes are more than can be read."""
    return len(steps[["node", "kind"]].drop_duplicates()) > MOST_ROWS


def draw(steps: pd.DataFrame, dilation: float = 1.0) -> Figure:
    """One row per node and kind of pass: a box for the middle half of the real times, a line from 5 % to 99 %.

    All by the run's clock: a real pass has `dilation` times as long as the device to be in time.
    """
    groups = list(steps.groupby(["site" if share_rows(steps) else "node", "kind"]))
    figure, (axes,) = new_figure(1.0 + 0.46 * max(len(groups), 1))
    for row, ((_, kind), passes) in enumerate(groups):
        real = passes["real_ms"] / dilation
        low, first, median, third, high = (float(real.quantile(q)) for q in (0.05, 0.25, 0.5, 0.75, 0.99))
        colour = VERIFY if kind == "verify" else DRAFT
        axes.hlines(row, low, high, color=colour, linewidth=1.2)
        axes.barh(row, third - first, left=first, height=0.42, color=colour)
        axes.plot([median, median], [row - 0.21, row + 0.21], color="white", linewidth=1.6)
        late = busy_ms(passes[passes["overrun_ms"] > 0])
        axes.plot(late, [row + 0.32] * len(late), "x", color=VERMILION, markersize=4, alpha=0.7)
        paced = passes.loc[passes["paced_ms"] > 0, "paced_ms"]
        if not paced.empty:
            at = float(paced.median())
            axes.plot([at, at], [row - 0.38, row + 0.38], color="black", linewidth=1.8)
            axes.annotate(f" device {at:.1f} ms", (at, row - 0.38), va="top", fontsize=8)
    counts = [f"{len(passes)} passes, {int((passes['overrun_ms'] > 0).sum())} overruns" for _, passes in groups]
    names = [f"{node} {kind}\n{count}" for ((node, kind), _), count in zip(groups, counts, strict=True)]
    axes.set_yticks(range(len(groups)), names, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    axes.margins(x=0.22)
    axes.set_xlabel("time of one pass (ms)")
    return figure
