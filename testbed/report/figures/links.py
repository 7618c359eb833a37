"""Each directed link's round-trip time against its specification: how far off the median, and how far the tail.

Rule kept: a figure has as many rows as can be read. Where single links are more, those between two sites share a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from testbed.report.style import BLACK, GREY, MOST_ROWS, ORANGE, PURPLE, new_figure
from testbed.results.validity import LIMITS, link_tolerance_ms

MARKS = {
    "before": ("o", BLACK, -0.24),
    "during": ("^", PURPLE, -0.08),
    "after": ("s", ORANGE, 0.08),
    "again after": ("D", GREY, 0.24),
}


def draw(links: pd.DataFrame, placement: Mapping[str, str]) -> Figure:
    """Of each row and check the median's error as a mark, its tolerance as a band, a whisker to the 99th percentile.

    `placement`: the site of each node. In a row of several links the mark is their middle median, the thick line goes
    from the least to the greatest, and the whisker ends at the greatest 99th percentile.
    """
    rows = rows_of(links, placement)
    names = rows.drop_duplicates("row")
    figure, (axes,) = new_figure(1.1 + 0.34 * len(names))
    for row, specified_ms in zip(names["row"], names["specified_ms"], strict=True):
        tolerance = link_tolerance_ms(float(specified_ms))
        axes.fill_betweenx([row - 0.45, row + 0.45], -tolerance, tolerance, color="#DDEFE6", linewidth=0)
    for phase, (marker, colour, offset) in MARKS.items():
        own = rows[rows["phase"] == phase]
        if own.empty:
            continue
        at = own["row"].to_numpy() + offset
        axes.hlines(at, own["least"], own["greatest"], color=colour, linewidth=3.2, alpha=0.5)
        axes.hlines(at, own["greatest"], own["tail"], color=colour, linewidth=1.1)
        axes.plot(own["tail"], at, "|", color=colour, markersize=6)
        axes.plot(own["middle"], at, marker, color=colour, markersize=4.5, label=f"{phase} the run")
    axes.axvline(0, color=GREY, linewidth=0.9)
    axes.axvline(LIMITS.link_p99_error_ms, color=GREY, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.annotate("p99 limit", (LIMITS.link_p99_error_ms, 1), xycoords=("data", "axes fraction"), xytext=(-3, -2),
                  textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=GREY)  # fmt: skip
    axes.set_yticks(range(len(names)), names["name"].tolist(), fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("measured - specified RTT (ms)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def share_rows(links: pd.DataFrame) -> bool:
    """Whether single links are more than can be read."""
    return len(links[["src", "dst"]].drop_duplicates()) > MOST_ROWS


def rows_of(links: pd.DataFrame, placement: Mapping[str, str]) -> pd.DataFrame:
    """A line for each row and check: `row` from 0 and its `name`; errors of medians, `tail` of the 99th percentiles."""
    came = links[links["received"] > 0]
    together = share_rows(links)
    if together:
        came = came.assign(one=came["src"].map(placement), other=came["dst"].map(placement))
    else:
        came = came.assign(one=came["src"], other=came["dst"])
    came = came.assign(
        error=came["median_ms"] - came["specified_ms"],
        late=came["p99_ms"] - came["specified_ms"],
        link=came["src"] + " " + came["dst"],
    )
    ends = came.groupby(["one", "other"], sort=False)
    came = came.assign(
        row=ends.ngroup(), number=ends["link"].transform("nunique"), nearest_ms=ends["specified_ms"].transform("min")
    )
    rows = came.groupby(["row", "one", "other", "number", "nearest_ms", "phase"], sort=False).agg(
        middle=("error", "median"), least=("error", "min"), greatest=("error", "max"), tail=("late", "max")
    )
    rows = rows.reset_index().rename(columns={"nearest_ms": "specified_ms"})
    names = [
        f"{row.one} → {row.other}\n{row.specified_ms:g} ms" + (f", {row.number} links" if together else "")
        for row in rows.itertuples(index=False)
    ]
    return rows.assign(name=names).sort_values("row", kind="stable")
