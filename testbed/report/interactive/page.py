"""The interactive part of the page: its figures with their captions, each with its numbers as a table beside it.

Rule: a figure of nothing but zeros is left out; every figure carries the stamps of its run; what a figure shows can be
read without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.report.answer import Answer
from testbed.report.interactive import specs
from testbed.report.interactive.request import Requests, requests, spec
from testbed.report.interactive.specs import Spec
from testbed.report.style import VERMILION
from testbed.results.metrics import PolicyLog
from testbed.results.timesplit import KINDS, split_ms

PAIRED = (
    "Every prompt's ratio to {base} is a dot; the diamond is the {middle}, the bar its 95 % interval over prompts. "
    "Left of the dashed line is {better} than {base}."
)


@dataclass(frozen=True)
class Figure:
    """`spec` is drawn by the page; `head` and `rows` say the same as a table."""

    key: str
    title: str
    caption: str
    spec: Spec
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def answer_figures(
    found: Answer, policies: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str], titles: Sequence[str]
) -> list[Figure]:
    """What the run is about: goodput where users have an SLO, and ratios to the base."""
    made = []
    if (goodput := specs.goodput(policies, colours)) is not None:
        goods = [
            (
                label,
                f"{one['token_goodput']['value']:.1f}",
                _share(one["slo_attainment"]),
                _share(one.get("slo_attainment_per_user")),
                _share(one.get("slo_fleet_attainment")),
                _number(one.get("tokens_per_s_per_user")),
            )
            for label, one in policies.items()
            if one["token_goodput"]
        ]
        caption = (
            "Output tokens per second of the requests that met their SLO; beside the bar, the share that did. The "
            "table has the other scopes too: users with their SLO on average, and the fleet's rate over its SLO."
        )
        head = (
            "policy",
            "goodput (tokens/s)",
            "requests within",
            "users within",
            "fleet over SLO",
            "tokens/s per user",
        )
        made.append(Figure("goodput", "Goodput", caption, goodput, head, tuple(goods)))
    if (by_class := specs.classes(policies)) is not None:
        values = by_class["data"]["values"]
        shares = tuple((row["policy"], row["class"], f"{row['share']:.1%}", str(row["n"])) for row in values)
        caption = "Users of several classes: the share of each class's requests that met its SLO."
        made.append(
            Figure(
                "classes",
                "SLO attainment by class",
                caption,
                by_class,
                ("policy", "SLO", "within it", "requests"),
                shares,
            )
        )
    for what, title, middle, better, axis in (
        ("latency", "Latency", "median", "faster", "ratio of end-to-end times"),
        ("drafts", "Draft passes at the target's site", "ratio of sums", "less work at the target's site",
         "ratio of draft passes"),
    ):  # fmt: skip
        drawn = specs.forest(found.against, found.base, what, axis, colours)
        if drawn is not None:
            caption = PAIRED.format(base=found.base, middle=middle, better=better)
            heading = f"{title}, against {found.base}"
            made.append(Figure(what, heading, caption, drawn, *_ratios(found, what)))
    return [_stamped(one, titles) for one in made]


def why_figures(logs: Mapping[str, PolicyLog], titles: Sequence[str]) -> list[Figure]:
    """Where time and drafts went."""
    made = []
    splits = {label: split for label, log in logs.items() if (split := split_ms(log))}
    if splits:
        kinds = [kind for kind in KINDS if any(split[kind] for split in splits.values())]
        rows = tuple((label, *(f"{split[kind]:.1f}" for kind in kinds)) for label, split in splits.items())
        caption = (
            "The mean request from send to last token. Each moment counts once, for the first of the legend that was "
            "under way."
        )
        made.append(Figure("time", "Where the time went", caption, specs.times(splits), ("ms", *kinds), rows))
    if (drawn := specs.drafted(logs)) is not None:
        parts = tuple((row["policy"], row["kind"], f"{row['drafts']:.2f}") for row in drawn["data"]["values"])
        caption = (
            "Drafts for each output token, by who made them and what became of them. Those never verified were made "
            "after a rejection, or twice."
        )
        head = ("policy", "drafts", "per output token")
        made.append(Figure("drafted", "What was drafted where", caption, drawn, head, parts))
    return [_stamped(one, titles) for one in made]


@dataclass(frozen=True)
class Timeline:
    """Of single requests: one specification a policy; the page draws those that the reader chose."""

    prompts: list[str]
    begin: list[str]  # policies that are drawn first
    specs: Mapping[str, Spec]
    cut: bool


def timeline(logs: Mapping[str, PolicyLog], base: str, titles: Sequence[str]) -> Timeline | None:
    found = requests(logs)
    if found is None:
        return None
    drawn = {label: _titled(spec(found, label), titles) for label in _drawn(found, logs)}
    last = list(drawn)[-1]
    return Timeline(found.prompts, list(dict.fromkeys([base if base in drawn else last, last])), drawn, found.cut)


def as_json(value: object) -> str:
    """For a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _drawn(found: Requests, logs: Mapping[str, PolicyLog]) -> Iterator[str]:
    with_rows = {row["policy"] for row in [*found.bars, *found.flights]}
    return (label for label in logs if label in with_rows)


def _stamped(one: Figure, titles: Sequence[str]) -> Figure:
    return Figure(one.key, one.title, one.caption, _titled(one.spec, titles), one.head, one.rows)


def _titled(spec: Spec, titles: Sequence[str]) -> Spec:
    if not titles:
        return spec
    return {**spec, "title": {"text": ", ".join(titles), "anchor": "end", "color": VERMILION, "fontSize": 13}}


def _share(statistic: Mapping[str, Any] | None) -> str:
    return "-" if statistic is None else f"{statistic['value']:.1%}"


def _number(statistic: Mapping[str, Any] | None) -> str:
    return "-" if statistic is None else f"{statistic['value']:.2f}"


def _ratios(found: Answer, what: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    rows = []
    for one in found.against:
        ratio = one.latency if what == "latency" else one.drafts
        if ratio is None:
            continue
        values = [latency if what == "latency" else drafts for _, latency, drafts in one.prompts]
        known = [value for value in values if value is not None]
        below = sum(value < 1 for value in known)
        interval = "-" if ratio["ci95"] is None else f"{ratio['ci95'][0]:.3f} to {ratio['ci95'][1]:.3f}"
        ends = f"{min(known):.3f} to {max(known):.3f}" if known else "-"
        middle = ratio.get("median", ratio.get("value"))
        rows.append((one.label, f"{middle:.3f}", interval, f"{below} of {len(known)}", ends))
    return ("policy", "ratio", "95 % interval", "prompts below 1", "least to greatest"), tuple(rows)
