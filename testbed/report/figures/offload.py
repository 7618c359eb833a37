"""How many draft passes stay at the target's site, for each policy, and the ratio a paper reports for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from testbed.report.style import BLACK, new_figure
from testbed.results.metrics import BASELINE
from testbed.results.reference import reference_for
from testbed.results.table import format_statistic as number


def draw(
    policies: Mapping[str, Mapping[str, Any]], entries: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]
) -> Figure:
    """`policies` as in summary.json; `entries` are the manifest's policies by label."""
    shown = {label: m for label, m in policies.items() if m["target_site_draft_passes"] is not None}
    figure, (axes,) = new_figure(1.0 + 0.42 * max(len(shown), 1))
    baselines = [label for label in shown if entries[label]["name"] == BASELINE]
    baseline = shown[baselines[0]]["target_site_draft_passes"]["median"] if baselines else None
    for row, (label, metrics) in enumerate(shown.items()):
        passes, ratio = metrics["target_site_draft_passes"], metrics["target_site_draft_ratio"]
        low, high = passes["ci95"] or (passes["median"], passes["median"])
        axes.barh(row, passes["median"], height=0.6, color=colours[label])
        if high > low:
            axes.plot([low, high], [row, row], color=BLACK, linewidth=1.2)
        end = high
        reference = reference_for(entries[label])
        if reference is not None and reference.target_site_draft_ratio is not None and baseline:
            at = reference.target_site_draft_ratio * baseline
            paper = f"{label}, paper: ratio about {reference.target_site_draft_ratio} {reference.setting}"
            axes.plot([at, at], [row - 0.45, row + 0.45], color=BLACK, linestyle=(0, (3, 2)), label=paper)
            end = max(high, at)
        text = f"{passes['median']:.0f}" + ("" if ratio is None else f"   ratio {number(ratio, 2)}")
        axes.annotate(text, (end, row), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), list(shown))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel("draft passes on the target's node, per request (median, 95 % interval)")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper left")
    return figure
