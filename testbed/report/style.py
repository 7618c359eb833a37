"""How every figure looks: size, type, a colour-blind-safe colour for each policy, its run's stamps.

Figures are drawn without pyplot, so drawing one leaves nothing behind in the process.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from testbed.results.stamps import NOT_VALID

# Told apart with every common colour vision, and each with a contrast of 3 or more to white and to a dark page.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#333333", "#C27C0E", "#3D93C8", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY, BROWN = "#767676", "#9A6324"
VERIFY, DRAFT = "#5F6B78", SKY  # passes by kind; no policy has these, so that a colour means one thing on the page
FIXED: Mapping[str, str] = MappingProxyType({"autoregressive": GREY, "speculative": BLUE, "wanspec": VERMILION})
OTHERS = (GREEN, PURPLE, BROWN, "#8064C8", "#7F8000", "#D0404F", "#2A8C9E")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1, 1.5)))  # colour is never the only difference

WIDTH_IN = 6.6
MOST_ROWS = 100  # of one figure: beyond, nobody looks for one of them, and drawing takes minutes
FOOT_IN = 0.16
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E4E4E4",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "svg.fonttype": "none",  # text as text: it can be searched, copied and read aloud
    }
)


def colours(policies: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A colour for each label: fixed for the known policies, then the others in turn."""
    free = cycle(OTHERS)
    chosen: dict[str, str] = {}
    for entry in policies:
        fixed = FIXED.get(str(entry["name"]))
        chosen[str(entry["label"])] = next(free) if fixed is None or fixed in chosen.values() else fixed
    return chosen


def dashes(colours: Mapping[str, str]) -> dict[str, Any]:
    """A line style for each label: those of one colour differ in it, as neighbours do."""
    taken: dict[str, int] = {}
    for index, (label, colour) in enumerate(colours.items()):
        used = {dash for other, dash in taken.items() if colours[other] == colour}
        turn = [(index + step) % len(DASHES) for step in range(len(DASHES))]
        taken[label] = next((dash for dash in turn if dash not in used), turn[0])
    return {label: DASHES[dash] for label, dash in taken.items()}


def new_figure(height_in: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the report's width with its axes, row by row."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).ravel())


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw figures inside; element ids depend on the name alone, so the same run gives the same bytes."""
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": name}):
        yield


def stamp(figure: Figure, titles: Sequence[str]) -> None:
    """Says across the figure what stamps the run has; without any, nothing."""
    if titles:
        figure.text(
            0.5, 0.5, "\n".join(titles), ha="center", va="center", rotation=18, fontsize=34, fontweight="bold",
            color=VERMILION if NOT_VALID in titles else BLUE, alpha=0.28, zorder=100,
        )  # fmt: skip


def foot(figure: Figure, text: str) -> None:
    """A line below the figure, in its corner: how its run's clock went."""
    height_in = figure.get_size_inches()[1]
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(rect=(0, FOOT_IN / height_in, 1, 1 - FOOT_IN / height_in))
    figure.text(0.995, 0.01, text, ha="right", va="bottom", fontsize=6.5, color=GREY)


def svg(figure: Figure, title: str) -> str:
    """The figure as an inline SVG element that scales with the page and reads its title aloud; ids are its own."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue()
    key = re.sub(r"\W+", "-", title.lower())
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", text)
    return text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
