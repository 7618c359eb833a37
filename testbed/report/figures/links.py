"""Each directed link's round-trip time against its specification: how far off the median, and how far the tail."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from testbed.report.style import BLACK, GREY, ORANGE, PURPLE, new_figure
from testbed.results.validity import LIMITS, link_tolerance_ms

MARKS = {
    "before": ("o", BLACK, -0.24),
    "during": ("^", PURPLE, -0.08),
    "after": ("s", ORANGE, 0.08),
    "again after": ("D", GREY, 0.24),
}


def draw(links: pd.DataFrame) -> Figure:
    """One row per pair: the median's error as a mark, its tolerance as a band, a whisker to the 99th percentile."""
    measured = links[links["received"] > 0]
    pairs = measured.drop_duplicates(["src", "dst"])[["src", "dst", "specified_ms"]].reset_index(drop=True)
    figure, (axes,) = new_figure(1.1 + 0.34 * len(pairs))
    for row, pair in enumerate(pairs.itertuples()):
        tolerance = link_tolerance_ms(float(pair.specified_ms))  # type: ignore[arg-type]
        axes.fill_betweenx([row - 0.45, row + 0.45], -tolerance, tolerance, color="#DDEFE6", linewidth=0)
    for phase, (marker, colour, offset) in MARKS.items():
        rows = pairs.merge(measured[measured["phase"] == phase], on=["src", "dst"], how="inner", suffixes=("", "_then"))
        if rows.empty:
            continue
        order = [int(pairs.index[(pairs["src"] == r.src) & (pairs["dst"] == r.dst)][0]) for r in rows.itertuples()]
        at = np.array(order) + offset
        median, tail = rows["median_ms"] - rows["specified_ms_then"], rows["p99_ms"] - rows["specified_ms_then"]
        axes.hlines(at, median, tail, color=colour, linewidth=1.1)
        axes.plot(tail, at, "|", color=colour, markersize=6)
        axes.plot(median, at, marker, color=colour, markersize=4.5, label=f"{phase} the run")
    axes.axvline(0, color=GREY, linewidth=0.9)
    axes.axvline(LIMITS.link_p99_error_ms, color=GREY, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.annotate("p99 limit", (LIMITS.link_p99_error_ms, 1), xycoords=("data", "axes fraction"), xytext=(-3, -2),
                  textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=GREY)  # fmt: skip
    names = [f"{pair.src} → {pair.dst}\n{pair.specified_ms:g} ms" for pair in pairs.itertuples()]
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("measured - specified RTT (ms)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure
