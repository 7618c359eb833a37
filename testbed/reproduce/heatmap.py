"""Draws a map of `figures`: a number for each pair of x and y, its colour and its digits in one cell.

Rule kept: every cell has its number in it, so colour is never the only difference; a pair without one stays empty.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from testbed.report.style import new_figure
from testbed.reproduce import claims
from testbed.reproduce.figures import NUMBER, VALUE, X, Y

ROW_IN, HEAD_IN = 0.24, 1.15  # of one row of cells, and of all that is not cells
DIGITS = 7.0  # points
DARK = 0.45  # luminance below which digits are white


def draw_map(spec: claims.Figure, data: pd.DataFrame) -> Figure:
    """All panels; without the stamp."""
    panels = spec.each_panel()
    columns = 1 if len(panels) == 1 else spec.columns
    rows = -(-len(panels) // columns)
    heights = [data[data[NUMBER] == number][Y].nunique() for number in range(len(panels))]
    figure, axes = new_figure(rows * (HEAD_IN + ROW_IN * max(heights)), rows, columns)
    for number, one in enumerate(panels):
        _cells(one, data[data[NUMBER] == number], axes[number])
    for empty in axes[len(panels) :]:
        empty.set_visible(False)
    if len(panels) > 1:
        figure.suptitle(spec.title, fontsize=10, fontweight="bold", x=0.01, ha="left")
    return figure


def _cells(spec: claims.Figure, data: pd.DataFrame, axes: Axes) -> None:
    across, down = list(dict.fromkeys(data[X])), list(dict.fromkeys(data[Y]))
    grid = data.pivot(index=Y, columns=X, values=VALUE).reindex(index=down, columns=across).to_numpy(dtype=float)
    scale, norm = _colours(spec, grid)
    axes.imshow(np.ma.masked_invalid(grid), cmap=scale, norm=norm, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(across)), [_said(one) for one in across], rotation=40, ha="right", fontsize=DIGITS)
    axes.set_yticks(range(len(down)), [_said(one) for one in down], fontsize=DIGITS)
    axes.set(title=spec.title, xlabel=spec.x_label, ylabel=spec.y_label)
    for (row, column), number in np.ndenumerate(grid):
        if np.isfinite(number):
            red, green, blue, _ = scale(norm(number))
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < DARK
            axes.text(
                column, row, _digits(number), ha="center", va="center", fontsize=DIGITS,
                color="white" if dark else "black",
            )  # fmt: skip


def _colours(spec: claims.Figure, grid: np.ndarray) -> tuple[Colormap, Normalize]:
    """From blue, which is little, over white at `neutral` to red; without it, from light to dark."""
    least, most = float(np.nanmin(grid)), float(np.nanmax(grid))
    if spec.neutral is None:
        return colormaps["viridis_r"], Normalize(least, most if most > least else least + 1.0)
    reach = max(abs(least - spec.neutral), abs(most - spec.neutral)) or 1.0
    return colormaps["RdBu_r"], TwoSlopeNorm(spec.neutral, spec.neutral - reach, spec.neutral + reach)


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _digits(number: float) -> str:
    """Two decimals of a ratio, none of milliseconds."""
    return f"{number:.2f}" if abs(number) < 10 else f"{number:.0f}"
