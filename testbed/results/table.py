"""The table a run prints: one row per policy, the paper's figure with it, and its stamps first.

Works from `summary.json` alone, so that old runs print the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from testbed.experiment.compute import RECORDED
from testbed.results import forecast, heldclock
from testbed.results.headings import NARROW
from testbed.results.reference import Reference, reference_for
from testbed.results.sampling import GREEDY
from testbed.results.stamps import NOT_VALID, Stamp, stamps
from testbed.results.statistics import no_interval

UNDEFINED = "-"
HEADINGS = (
    NARROW["tpot_ms"], NARROW["ttft_ms"], NARROW["e2e_ms"].replace("\n", "\np95 "), NARROW["tokens_per_round"],
    NARROW["acceptance_rate"], NARROW["target_site_draft_passes"], NARROW["latency_ratio"],
)  # fmt: skip
Summary = Mapping[str, Any]


def render(summary: Summary, policies: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The whole answer to `testbed run`; `policies` is the manifest's list, which knows the registered names."""
    parts: list[RenderableType] = [stamped(one) for one in stamps(summary)]
    papers = {str(entry["label"]): reference_for(entry) for entry in policies}
    parts += [_policies(summary, papers), *_few(summary), *_spent(summary), *_served(summary), Text(_lossless(summary))]
    parts += [*_clock(summary), *_plan(summary), *_references(papers)]
    return Group(*parts)


def format_statistic(statistic: Mapping[str, Any] | None, digits: int = 1, interval: bool = False) -> str:
    """A statistic's median or value, and where asked for and known its 95 % interval below it."""
    if statistic is None:
        return UNDEFINED
    text = f"{statistic['median'] if 'median' in statistic else statistic['value']:.{digits}f}"
    ends = statistic.get("ci95")
    return f"{text}\n[{ends[0]:.{digits}f},{ends[1]:.{digits}f}]" if interval and ends else text


def _policies(summary: Summary, papers: Mapping[str, Reference | None]) -> Table:
    table = Table(
        title=f"{summary['experiment']}  {summary['run_id']}", title_justify="left",
        caption="medians; [95 % interval]; x: ratio to co-located speculation", caption_justify="left",
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1),  # fits 80 columns, what a log file gets
    )  # fmt: skip
    table.add_column("policy", overflow="fold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for label, metrics in summary["policies"].items():
        table.add_row(
            label,
            format_statistic(metrics["tpot_ms"], interval=True),
            format_statistic(metrics["ttft_ms"]),
            UNDEFINED if metrics["e2e_ms"] is None else f"{metrics['e2e_ms']['p95']:.0f}",
            format_statistic(metrics["tokens_per_round"], 2),
            format_statistic(metrics["acceptance_rate"], 2),
            format_statistic(metrics["target_site_draft_passes"], 0)
            + f"\nx {format_statistic(metrics['target_site_draft_ratio'], 2)}",
            format_statistic(metrics["latency_ratio"], 2, interval=True),
        )
        reference = papers[label]
        if reference is not None and reference.target_site_draft_ratio is not None:
            paper = (f"x ~{reference.target_site_draft_ratio}", f"~{reference.latency_ratio}")
            table.add_row("  paper", *[""] * (len(HEADINGS) - len(paper)), *paper, style="dim")
    return table


def _spent(summary: Summary) -> Iterator[RenderableType]:
    """What each policy cost, where the summary says; old ones do not."""
    by_policy = summary["policies"]
    if not any(metrics.get("gpu_seconds") for metrics in by_policy.values()):
        return
    priced = any(metrics.get("cost") for metrics in by_policy.values())
    columns = [("gpu_seconds", 1.0, 1), ("draft_passes", 1.0, 0), ("wan_bytes", 1e-3, 1), ("joules", 1.0, 0)]
    columns += [("cost", 1.0, 4)] if priced else []
    table = Table(
        caption="per 1000 output tokens; drafts per request" + ("; cost by the experiment's prices" if priced else ""),
        caption_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1),
    )  # fmt: skip
    table.add_column("policy", overflow="fold")
    table.add_column("device s by site")
    for name, _, _ in columns:
        table.add_column(NARROW[name], justify="right")
    for label, metrics in by_policy.items():
        cells = (_scaled(metrics.get(name), scale, digits) for name, scale, digits in columns)
        table.add_row(label, _by_site(metrics.get("gpu_seconds_by_site")), *cells)
    yield table
    lines: Mapping[str, Sequence[str]] = summary.get("not_accounted", {})
    for line in dict.fromkeys(one for said in lines.values() for one in said):
        named = [label for label, said in lines.items() if line in said]
        yield Text(f"{'' if len(named) == len(by_policy) else ', '.join(named) + ': '}{line}")


def _served(summary: Summary) -> Iterator[RenderableType]:
    """Where requests went, and how much of their prompts was there already."""
    for label, metrics in summary["policies"].items():
        if (served := metrics.get("requests_by_target")) is not None:
            counts = zip(served["classes"], served["n"], strict=True)
            yield Text(f"{label}: requests by target: " + ", ".join(f"{name} {count}" for name, count in counts))
    for label, metrics in summary["policies"].items():
        if (cached := metrics.get("cached_prompt_share")) is not None:
            yield Text(f"{label}: {100 * cached['value']:.0f} % of prompt tokens were in the target's cache")


def _by_site(statistic: Mapping[str, Any] | None) -> str:
    if statistic is None:
        return UNDEFINED
    return "\n".join(
        f"{name}: {value:.1f}" for name, value in zip(statistic["classes"], statistic["value"], strict=True)
    )


def _scaled(statistic: Mapping[str, Any] | None, scale: float, digits: int) -> str:
    if statistic is None:
        return UNDEFINED
    value = statistic["median"] if "median" in statistic else statistic["value"]
    return f"{value * scale:.{digits}f}"


def _lossless(summary: Summary) -> str:
    checked, equal = summary["lossless"]["checked"], summary["lossless"]["equal"]
    if not checked:
        return "lossless: no output was compared with target-only decoding"
    if summary["lossless"].get("kind") == RECORDED:
        return f"lossless: not checked, as no model ran; {equal} of {checked} outputs are as recorded"
    sampling = summary.get("sampling")  # None: a run of before this was said
    drawn = "" if sampling in (None, GREEDY) else f" with the same seeds (sampling: {sampling})"
    return f"lossless: {equal} of {checked} outputs equal target-only decoding{drawn}, token by token"


def _few(summary: Summary) -> Iterator[RenderableType]:
    counts: Mapping[str, int] = summary.get("few_prompts", {})
    for prompts in dict.fromkeys(counts.values()):
        labels = [label for label, one in counts.items() if one == prompts]
        yield Text(
            f"{', '.join(labels) if len(labels) < len(summary['policies']) else 'all policies'}: {no_interval(prompts)}"
        )


def _clock(summary: Summary) -> Iterator[RenderableType]:
    if "clock" in summary:
        yield Text(heldclock.sentence(summary["clock"]))


def _plan(summary: Summary) -> Iterator[RenderableType]:
    if "plan" in summary:
        yield Text(f"plan: {forecast.compared(summary['plan'])}")


def stamped(one: Stamp) -> Panel:
    """In a frame, before any number."""
    style = "bold red" if one.title == NOT_VALID else "bold yellow"
    title = f"{one.title}: {one.about}" if one.about else one.title
    return Panel(Text("\n".join(one.lines)), title=title, title_align="left", style=style)


def _references(papers: Mapping[str, Reference | None]) -> Iterator[RenderableType]:
    for reference in dict.fromkeys(papers.values()):
        if reference is not None:
            yield Text(f"paper, {reference.policy} {reference.sentence}", style="dim")
