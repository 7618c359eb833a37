"""The table of `testbed compare`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.results.stamps import NOT_VALID, SIMULATED, across, simulated, told

UNDEFINED = "-"


def render(result: Mapping[str, Any]) -> RenderableType:
    """One table per compared run."""
    parts: list[RenderableType] = []
    for about in (result["base"], *(one["run"] for one in result["comparisons"])):
        for line in told(about["validity"]):
            parts.append(Text(f"{NOT_VALID}, {about['path']}: {line}", style="bold red"))
        if SIMULATED in across(about):
            parts.append(Text(f"{SIMULATED}, {about['path']}: {simulated().lines[0]}", style="bold yellow"))
    for one in result["comparisons"]:
        parts.append(_table(result["base"], one))
        if one["only_in_one"]:
            parts.append(Text(f"only in one of the two runs: {', '.join(one['only_in_one'])}"))
    return Group(*parts)


def _table(base: Mapping[str, Any], one: Mapping[str, Any]) -> Table:
    run = one["run"]
    table = Table(
        title=f"{_name(run)} against {_name(base)}", title_justify="left",
        caption="other / base, paired by prompt and repeat; [95 % interval over prompts]", caption_justify="left",
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1),  # fits 80 columns
    )  # fmt: skip
    table.add_column("policy\n metric")
    for heading in ("base", "other", "ratio of\nmedians", "median of\nratios", "n"):
        table.add_column(heading, justify="right")
    for label, policy in one["policies"].items():
        table.add_row(Text(label, style="bold"))
        for tag, figures in policy["metrics"].items():
            table.add_row(
                f" {tag}", f"{figures['base']:.2f}", f"{figures['other']:.2f}",
                _ratio(figures["ratio_of_medians"]), _ratio(figures["median_of_ratios"]), str(figures["n"]),
            )  # fmt: skip
    return table


def _name(run: Mapping[str, Any]) -> str:
    dilated = "" if run["dilation"] == 1 else f", dilation {run['dilation']:g}"
    return f"{run['experiment']} {run['run_id']} ({run['engine']}, {run['fabric']}{dilated})"


def _ratio(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return UNDEFINED
    ends = one["ci95"]
    return f"{one['value']:.3f}" + (f"\n[{ends[0]:.3f},{ends[1]:.3f}]" if ends else "")
