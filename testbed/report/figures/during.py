"""What the in-run probe saw of each link while the run went on: how far off it was, and what it was specified to be."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.report.style import BLACK, GREY, OTHERS, new_figure
from testbed.results.during import comparable, windows
from testbed.results.validity import LIMITS, link_tolerance_ms
from testbed.system.units import NS_PER_S

MANY_PAIRS = len(OTHERS)  # beyond, single pairs cannot be told apart and share one colour
MOST_DOTS = 5000


def draw(probes: pd.DataFrame) -> Figure:
    """Dots are probes, lines the medians of windows, the band their tolerance; time is from the first probe on."""
    begin_ns = int(probes["sent_ns"].min())
    measured, of_windows = comparable(probes), windows(probes)
    figure, (axes,) = new_figure(2.2)
    pairs = list(probes[["src", "dst"]].drop_duplicates().itertuples(index=False, name=None))
    apart = len(pairs) <= MANY_PAIRS
    for index, (src, dst) in enumerate(pairs if apart else pairs[:1]):
        dots, lines, colour, label = measured, of_windows, GREY, "each pair"
        if apart:
            dots, lines, colour, label = _of(dots, src, dst), _of(lines, src, dst), OTHERS[index], f"{src} ↔ {dst}"
        # one by one, many dots would make a page of megabytes: they are a picture then
        axes.plot((dots["sent_ns"] - begin_ns) / NS_PER_S, dots["rtt_ms"] - dots["specified_ms"], ".", color=colour,
                  markersize=1.6, alpha=0.35, rasterized=len(measured) > MOST_DOTS)  # fmt: skip
        axes.plot(*_with_gaps(lines, begin_ns), "o-", color=colour, markersize=3.5, linewidth=1.1, label=label)
    tolerance = link_tolerance_ms(float(probes["specified_ms"].min()))
    axes.axhspan(-tolerance, tolerance, color="#DDEFE6", linewidth=0, zorder=0)
    axes.set_ylim(-2 * LIMITS.link_p99_error_ms, 2 * LIMITS.link_p99_error_ms)
    axes.axhline(0, color=GREY, linewidth=0.9)
    _name_phases(axes, probes, begin_ns)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("RTT error (ms)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure


def _of(frame: pd.DataFrame, src: str, dst: str) -> pd.DataFrame:
    return frame[(frame["src"] == src) & (frame["dst"] == dst)]


def _with_gaps(windows: pd.DataFrame, begin_ns: int) -> tuple[list[float], list[float]]:
    """Times and errors of one line that stops where a pair or a phase ends: with a gap there."""
    at_s: list[float] = []
    error_ms: list[float] = []
    for _, own in windows.groupby(["src", "dst", "policy", "repeat"], sort=False):
        at_s += [*((own["sent_ns"] - begin_ns) / NS_PER_S), math.nan]
        error_ms += [*own["error_ms"], math.nan]
    return at_s, error_ms


def _name_phases(axes: Axes, probes: pd.DataFrame, begin_ns: int) -> None:
    for (policy, repeat), own in probes.groupby(["policy", "repeat"], sort=False):
        at_s = (int(own["sent_ns"].min()) - begin_ns) / NS_PER_S
        axes.axvline(at_s, color=GREY, linewidth=0.6, linestyle=(0, (1, 2)))
        name = str(policy) if repeat == 0 else f"{policy}, repeat {repeat}"
        axes.annotate(name, (at_s, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
                      textcoords="offset points", ha="left", va="top", fontsize=7.5, color=BLACK)  # fmt: skip
