"""The report: one HTML file that carries its figures, its style and its provenance, and asks the network for nothing.

The answer comes first, then why, then tables and checks. Rule: numbers come from `summary.json`, figures from the log;
a run that is not valid, or simulated, says so at the top and on every figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from testbed.files.whole import check_file
from testbed.report import answer, header, validity_statement
from testbed.report.figures import acceptance, during, latency, links, offload, pacing
from testbed.report.interactive import page as interactive
from testbed.report.interactive.library import script
from testbed.report.style import colours, drawing, foot, stamp, svg
from testbed.results import heldclock
from testbed.results.metrics import FAMILIES, RTT_ERROR, Metric, PolicyLog, policy_logs
from testbed.results.metrics.base import passes
from testbed.results.recorded import recorded_compute
from testbed.results.reference import reference_for
from testbed.results.stamps import across, stamps
from testbed.results.statistics import no_interval
from testbed.results.store import RunData, RunDirectory, load, using

NAME = "report.html"
LINKS_TOGETHER = (
    " Links between two sites share a row: the mark is the middle median, the thick line goes from the least to the "
    "greatest, the whisker to the greatest 99th percentile. All must lie within."
)
MOST_COLUMNS = 4  # of a table with a column a policy; of more, each policy is a row
PASSES_TOGETHER = " Nodes of one site share a row."


@dataclass(frozen=True)
class Panel:
    """One drawn figure of the page with its heading and what to see in it."""

    key: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Row:
    """One metric of the table: its family and its cells in the order of the policies."""

    family: str
    metric: Metric
    cells: tuple[Mapping[str, Any] | None, ...]


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` into the run directory, from what the directory holds, and says where it is."""
    directory = RunDirectory(run_dir)
    summary = directory.read_summary()
    check_file(run_dir / NAME, option="report")
    with using(run_dir):
        return write_page(directory, load(run_dir), summary)


def write_page(directory: RunDirectory, run: RunData, summary: Mapping[str, Any]) -> Path:
    """Writes `report.html` of a run that was read from its directory already; says where it is."""
    return directory.write_text(NAME, render(run, summary))


def render(run: RunData, summary: Mapping[str, Any]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("testbed.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    environment.filters["json"] = interactive.as_json
    manifest = run.manifest
    references = {entry["label"]: reference_for(entry) for entry in manifest["policies"]}
    logs = {label: log for label, log in policy_logs(run).items() if not log.requests.empty}
    palette, titles = colours(manifest["policies"]), across(summary)
    found = answer.answer(logs, summary, references)
    figures = {} if found is None else {
        "answer": interactive.answer_figures(found, summary["policies"], palette, titles),
        "why": interactive.why_figures(logs, titles),
    }  # fmt: skip
    return environment.get_template("report.html.j2").render(
        summary=summary,
        manifest=manifest,
        stamps=stamps(summary),
        checks=answer.checks(summary),
        answer=found,
        figures=figures,
        timeline=None if found is None else interactive.timeline(logs, found.base, titles),
        specs={figure.key: figure.spec for several in figures.values() for figure in several},
        library=script() if found is not None else "",
        columns=MOST_COLUMNS,
        few_prompts={label: no_interval(prompts) for label, prompts in summary.get("few_prompts", {}).items()},
        facts=header.facts(run),
        colours=palette,
        rows=(rows := list(_rows(summary))),
        families=[(family, [row for row in rows if row.family == family]) for family in FAMILIES],
        panels=list(_panels(run, summary, logs)),
        statements=validity_statement.statements(summary, manifest),
        references=[reference for reference in dict.fromkeys(references.values()) if reference is not None],
        rtt_error=RTT_ERROR,
        scenario=yaml.safe_dump(manifest["scenario"], sort_keys=False, allow_unicode=True),
        provenance=json.dumps(manifest, indent=2, ensure_ascii=False),
    )


def number(value: float, unit: str = "") -> str:
    """Enough digits to see a difference of a few per cent, and no more; whole passes stay whole."""
    if unit == "passes" and float(value).is_integer():
        return f"{value:.0f}"
    if 0 < abs(value) < 0.01:
        return f"{value:.1g}"  # a microsecond is not nothing
    digits = 0 if abs(value) >= 200 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def _rows(summary: Mapping[str, Any]) -> Iterator[Row]:
    for family, metrics in FAMILIES.items():
        for metric in metrics:
            cells = tuple(policy.get(metric.tag) for policy in summary["policies"].values())
            if any(cell is not None for cell in cells):
                yield Row(family, metric, cells)


def _panels(run: RunData, summary: Mapping[str, Any], logs: Mapping[str, PolicyLog]) -> Iterator[Panel]:
    palette = colours(run.manifest["policies"])
    entries = {entry["label"]: entry for entry in run.manifest["policies"]}
    policies = {label: summary["policies"][label] for label in logs}
    titles = across(summary)

    def panel(key: str, title: str, caption: str, draw: Callable[[], Figure]) -> Panel:
        with drawing(title):
            figure = draw()
            stamp(figure, titles)
            if "clock" in summary:
                foot(figure, heldclock.mark(summary["clock"]))
            return Panel(key, title, caption, svg(figure, title))

    if logs:
        yield panel(
            "latencies", "Latency", "Share of requests that took at most this long. Further left is faster.",
            lambda: latency.draw(logs, palette),
        )  # fmt: skip
    if any(drafts and drafts["median"] for drafts in (one["target_site_draft_passes"] for one in policies.values())):
        yield panel(
            "offload", "Draft passes at the target's site",
            "The purpose of offloading: fewer draft passes on the node that runs the target. Ratios are against "
            "co-located speculation in this run, paired by prompt.",
            lambda: offload.draw(policies, entries, palette),
        )  # fmt: skip
    if any(int(log.rounds["drafts"].sum()) > 0 for log in logs.values()):
        yield panel(
            "drafts", "Drafts", "Where the verified drafts came from, and how many of them the target accepted.",
            lambda: acceptance.draw(logs, policies, palette),
        )  # fmt: skip
    if (run.links["received"] > 0).any():
        yield panel(
            "links", "Links",
            "Each directed link against its specification. The mark is the median and must lie in the band; the "
            "whisker ends at the 99th percentile and must end before the dashed line."
            + (LINKS_TOGETHER if links.share_rows(run.links) else ""),
            lambda: links.draw(run.links, run.manifest["node_placement"]),
        )  # fmt: skip
    if len(run.probes):
        yield panel(
            "during",
            "Links during the run",
            "A few probes per second over every link in use, against its specification at that moment. Dots are "
            "probes, lines are medians of about fifty, which must stay in the band (wider for links beyond 30 ms).",
            lambda: during.draw(run.probes),
        )
    if summary["engine"] == "emulation" and not recorded_compute(summary) and not run.steps.empty:
        yield panel(
            "pacing", "Pacing",
            "Each forward pass really runs; its result is then held until the emulated device would have finished "
            "(bar). The box is the middle half of the real times, the line 5 % to 99 %. A cross is an overrun, at "
            "its real time." + (PASSES_TOGETHER if pacing.share_rows(run.steps) else ""),
            lambda: pacing.draw(passes(run.steps), heldclock.dilation_of(run.manifest)),
        )  # fmt: skip
