"""Draws the numbers of `figures`: panels side by side, one legend, the same line in the same colour everywhere.

Rule kept: points that are not valid put their stamp across the figure, and that they were simulated stands there too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.report.style import BLACK, DASHES, GREY, colours, new_figure, stamp
from testbed.reproduce import claims
from testbed.reproduce.figures import CDF, HIGH, LOW, MAP, NUMBER, SERIES, VALID, X, Y
from testbed.reproduce.heatmap import draw_map
from testbed.results.stamps import NOT_VALID, SIMULATED

HEIGHT_IN = 3.4
PANEL_HEIGHT_IN = 2.4  # of one row, where there are several panels
LEGEND_HEIGHT_IN = 0.6  # and of the title
FEW_COLOURS = 4  # values of `by` up to here get colours that tell them apart, more of them a colour scale
LEGEND_COLUMNS = 6


def draw(spec: claims.Figure, data: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """`names`: registered policy name by label, for its colour."""
    if spec.kind == MAP:
        figure = draw_map(spec, data)
        stamp(figure, [*([] if data[VALID].all() else [NOT_VALID]), SIMULATED])
        return figure
    panels = spec.each_panel()
    single = len(panels) == 1
    columns = 1 if single else spec.columns
    rows = -(-len(panels) // columns)
    height_in = HEIGHT_IN if single else LEGEND_HEIGHT_IN + rows * PANEL_HEIGHT_IN
    in_rows = [{one.y for one in panels[start : start + columns]} for start in range(0, len(panels), columns)]
    alike = all(len(shown) == 1 for shown in in_rows)
    figure, axes = new_figure(height_in, rows, columns, sharey="row" if alike else False)
    palette = _palette(spec, list(dict.fromkeys(data[SERIES])), names)
    for number, one in enumerate(panels):
        _plot(one, data[data[NUMBER] == number], axes[number], palette)
    for empty in axes[len(panels) :]:
        empty.set_visible(False)
    _legend(spec, figure, axes[0], single)
    if not single:
        figure.suptitle(spec.title, fontsize=10, fontweight="bold", x=0.01, ha="left")
    stamp(figure, [*([] if data[VALID].all() else [NOT_VALID]), SIMULATED])  # a paper's sweeps are always simulated
    return figure


def _palette(spec: claims.Figure, lines: Sequence[str], names: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Colour and dash of each line."""
    chosen: Mapping[str, Any]
    if spec.by is not None and len(lines) > FEW_COLOURS:
        scale = colormaps["viridis"](np.linspace(0.0, 0.9, len(lines)))
        chosen = {label: tuple(colour) for label, colour in zip(lines, scale, strict=True)}
    else:
        named = {label: label if spec.by else names.get(label, label) for label in lines}
        chosen = colours([{"label": label, "name": name} for label, name in named.items()])
    return {label: (chosen.get(label, BLACK), DASHES[index % len(DASHES)]) for index, label in enumerate(lines)}


def _plot(spec: claims.Figure, data: pd.DataFrame, axes: Axes, palette: Mapping[str, tuple[Any, Any]]) -> None:
    axes.set(title=spec.title, xlabel=spec.x_label, ylabel=spec.y_label)
    for label, of_line in data.groupby(SERIES, sort=False):
        colour, dash = palette[str(label)]
        x, y = of_line[X].to_numpy(), of_line[Y].to_numpy()
        if spec.kind == CDF:
            # from 0 at the smallest value: the first step is one sample high
            axes.step(np.append(x[0], x), np.append(0.0, y), where="post", color=colour, linestyle=dash, label=label)
        elif spec.kind == "scatter":
            axes.plot(x, y, color=colour, marker="o", markersize=2.6, linewidth=0.5, label=label)
        else:
            axes.plot(x, y, color=colour, linestyle=dash, marker="o", markersize=3.0, label=label)
            axes.fill_between(x, of_line[LOW], of_line[HIGH], color=colour, alpha=0.15, linewidth=0)
    if spec.reference is not None:
        line = axes.axvline if spec.kind == CDF else axes.axhline
        line(spec.reference, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)


def _legend(spec: claims.Figure, figure: Figure, axes: Axes, single: bool) -> None:
    """Inside a single panel, else below all of them."""
    handles, labels = axes.get_legend_handles_labels()
    said = spec.by if spec.legend is None else spec.legend
    title = {"title": said, "title_fontsize": 8} if said else {}
    if single:
        axes.legend(fontsize=8, ncols=1 + len(labels) // 7, **title)
    else:
        columns = min(len(labels), LEGEND_COLUMNS)
        figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=columns, **title)
