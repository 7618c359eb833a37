"""The figures of the answer: ratios by policy, where the time went, what was drafted where, goodput.

Rule: every figure has the parameter `shown`, the labels of the policies to draw, which the page sets; colours are the
policies' own; all text is text. Data are short rows, so that twenty policies fit into one page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.report.answer import Against
from testbed.report.interactive.library import SCHEMA
from testbed.report.style import BLUE, BROWN, GREEN, GREY, ORANGE, PURPLE, SKY, VERIFY, VERMILION
from testbed.results.metrics import PolicyLog
from testbed.results.timesplit import KINDS

Spec = dict[str, Any]
MOST_PROMPTS = 100  # drawn of one policy, evenly over the ranks
ROW_PX = 34
TIME_COLOURS = dict(zip(KINDS, (PURPLE, VERIFY, BLUE, VERMILION, SKY, ORANGE, BROWN), strict=True))
DRAFT_COLOURS = {
    "target's node, accepted": GREEN, "elsewhere, accepted": SKY, "verified and rejected": VERMILION,
    "never verified": GREY,
}  # fmt: skip
Rows = list[dict[str, Any]]


LEGEND = {"orient": "top", "columns": {"expr": "width < 330 ? 1 : width < 460 ? 2 : 4"}, "labelLimit": 0}
TICKS = {"labelOverlap": True, "tickCount": {"expr": "max(2, width / 80)"}}


def figure(rows: Sequence[str], row_px: int = ROW_PX, **content: Any) -> Spec:
    """What all of them have in common. The page changes the height with the policies that it shows."""
    return {
        "$schema": SCHEMA, "width": "container", "height": row_px * len(rows),
        "autosize": {"type": "fit-x", "contains": "padding"}, "usermeta": {"row_px": row_px, "rows": list(rows)},
        "params": [{"name": "shown", "value": list(rows)}], **content,
    }  # fmt: skip


SHOWN = {"filter": "indexof(shown, datum.policy) >= 0"}


def forest(against: Sequence[Against], base: str, what: str, title: str, colours: Mapping[str, str]) -> Spec | None:
    """Ratios of one quantity (`latency` or `drafts`): each prompt a dot, median or ratio of sums a diamond."""
    rows: Rows = []
    dots: Rows = []
    for one in against:
        ratio = getattr(one, what)
        if ratio is None:
            continue
        low, high = ratio["ci95"] or (None, None)
        rows.append({"policy": one.label, "ratio": ratio.get("median", ratio.get("value")), "low": low, "high": high})
        prompts = [(prompt, latency if what == "latency" else drafts) for prompt, latency, drafts in one.prompts]
        ranked = sorted((value, prompt) for prompt, value in prompts if value is not None)
        for value, prompt in _spread(ranked):
            dots.append({"policy": one.label, "prompt": prompt, "ratio": round(value, 4)})
    if not rows:
        return None
    labels = [row["policy"] for row in rows]
    place = {"field": "policy", "type": "nominal", "sort": labels, "title": None}
    ink = {"field": "policy", "type": "nominal", "legend": None, "scale": _scale(labels, colours)}
    # A ratio of 0 (no draft was left) has no place on a logarithmic scale.
    positive = all(row["ratio"] > 0 and (row["low"] is None or row["low"] > 0) for row in [*rows, *_as_rows(dots)])
    scale = {"type": "log", "nice": False, "padding": 12} if positive else {"zero": True, "padding": 12}
    across = {
        "field": "ratio",
        "type": "quantitative",
        "scale": scale,
        "title": title,
        "axis": {"format": "~g", **TICKS},
    }
    tips = [
        {"field": "policy"}, {"field": "ratio", "format": ".3f", "title": f"ratio to {base}"},
        {"field": "low", "format": ".3f", "title": "interval from"}, {"field": "high", "format": ".3f", "title": "to"},
    ]  # fmt: skip
    return figure(
        labels,
        layer=[
            {"data": {"values": [{}]}, "mark": {"type": "rule", "strokeDash": [4, 3], "aria": False},
             "encoding": {"x": {"datum": 1}}},
            {"data": {"values": dots}, "transform": [SHOWN],
             "mark": {"type": "circle", "size": 34, "opacity": 0.38, "yOffset": 8, "aria": False},
             "encoding": {"x": across, "y": place, "color": ink,
                          "tooltip": [{"field": "policy"}, {"field": "prompt"}, {"field": "ratio", "format": ".3f"}]}},
            {"data": {"values": rows}, "transform": [SHOWN, {"filter": "datum.low != null"}],
             "mark": {"type": "rule", "strokeWidth": 3, "yOffset": -5, "y2Offset": -5},
             "encoding": {"x": {**across, "field": "low"}, "x2": {"field": "high"}, "y": place, "color": ink,
                          "tooltip": tips}},
            {"data": {"values": rows}, "transform": [SHOWN],
             "mark": {"type": "point", "shape": "diamond", "filled": True, "opacity": 1, "size": 130, "yOffset": -5},
             "encoding": {"x": across, "y": place, "color": ink, "tooltip": tips}},
        ],
    )  # fmt: skip


def times(splits: Mapping[str, Mapping[str, float]]) -> Spec:
    """A bar a policy: the mean request's milliseconds by kind."""
    rows = [
        {"policy": label, "kind": kind, "ms": round(ms, 2), "at": KINDS.index(kind)}
        for label, split in splits.items()
        for kind, ms in split.items()
        if ms > 0
    ]
    return _stacked(rows, list(splits), "ms", "milliseconds of a request, mean", TIME_COLOURS)


def drafted(logs: Mapping[str, PolicyLog]) -> Spec | None:
    """A bar a policy: what became of drafts for each output token."""
    rows: Rows = []
    for label, log in logs.items():
        tokens = int(log.requests["output_tokens"].sum())
        if log.drafts.empty or not tokens:
            continue
        rounds = log.rounds
        kept, remote = int(rounds["accepted"].sum()), _kept_elsewhere(log)
        verified = int(rounds["drafts"].sum())
        parts = (kept - remote, remote, verified - kept, max(0, len(log.drafts) - verified))
        for at, (kind, count) in enumerate(zip(DRAFT_COLOURS, parts, strict=True)):
            if count:
                rows.append({"policy": label, "kind": kind, "drafts": round(count / tokens, 4), "at": at})
    if not rows:
        return None
    labels = list(dict.fromkeys(row["policy"] for row in rows))
    return _stacked(rows, labels, "drafts", "draft passes per output token", DRAFT_COLOURS)


def goodput(policies: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]) -> Spec | None:
    """Tokens a second of requests within their SLO, beside the share of requests that met it."""
    rows: Rows = [
        {
            "policy": label, "goodput": metrics["token_goodput"]["value"],
            "met": metrics["slo_attainment"]["value"] if metrics["slo_attainment"] else None,
        }
        for label, metrics in policies.items()
        if metrics["token_goodput"]
    ]  # fmt: skip
    if not rows:
        return None
    labels = [row["policy"] for row in rows]
    encoding = {
        "y": {"field": "policy", "type": "nominal", "sort": labels, "title": None},
        "x": {
            "field": "goodput",
            "type": "quantitative",
            "title": "tokens/s of requests within their SLO",
            "axis": TICKS,
        },
    }
    met = {"field": "met", "format": ".1%", "title": "requests within their SLO"}
    return figure(
        labels,
        data={"values": rows}, transform=[SHOWN], encoding=encoding,
        layer=[
            {"mark": {"type": "bar", "height": {"band": 0.6}},
             "encoding": {
                 "color": {"field": "policy", "type": "nominal", "legend": None, "scale": _scale(labels, colours)},
                 "tooltip": [{"field": "policy"}, {"field": "goodput", "format": ".1f"}, met]}},
            {"mark": {"type": "text", "align": "left", "dx": 5, "aria": False}, "encoding": {"text": met}},
        ],
    )  # fmt: skip


def classes(policies: Mapping[str, Mapping[str, Any]]) -> Spec | None:
    """The share of requests within their SLO by class, where users have several."""
    rows: Rows = []
    for label, metrics in policies.items():
        if (by_class := metrics["slo_attainment_by_class"]) and len(by_class["classes"]) > 1:
            for rate, share, count in zip(by_class["classes"], by_class["value"], by_class["n"], strict=True):
                rows.append({"policy": label, "class": f"{rate:g} tokens/s", "rate": rate, "share": share, "n": count})
    if not rows:
        return None
    labels = list(dict.fromkeys(row["policy"] for row in rows))
    rates = list(dict.fromkeys(row["class"] for row in sorted(rows, key=lambda row: row["rate"])))
    return figure(
        labels,
        data={"values": rows}, transform=[SHOWN],
        mark={"type": "point", "filled": True, "opacity": 0.9, "size": 90},
        encoding={
            "y": {"field": "policy", "type": "nominal", "sort": labels, "title": None},
            "x": {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]},
                  "axis": {**TICKS, "format": "%"}, "title": "share of requests within their SLO"},
            "color": {"field": "class", "type": "ordinal", "sort": rates, "title": None, "scale": {"scheme": "plasma"},
                      "legend": LEGEND},
            "shape": {"field": "class", "type": "ordinal", "sort": rates, "title": None, "legend": LEGEND},
            "tooltip": [{"field": "policy"}, {"field": "class"}, {"field": "share", "format": ".1%"},
                        {"field": "n", "title": "requests"}],
        },
    )  # fmt: skip


def _stacked(rows: Rows, labels: Sequence[str], value: str, title: str, colours: Mapping[str, str]) -> Spec:
    kinds = [kind for kind in colours if any(row["kind"] == kind for row in rows)]
    return figure(
        labels,
        data={"values": rows}, transform=[SHOWN],
        mark={"type": "bar", "height": {"band": 0.66}, "stroke": "white", "strokeWidth": 0.6},
        encoding={
            "y": {"field": "policy", "type": "nominal", "sort": list(labels), "title": None},
            "x": {"field": value, "type": "quantitative", "title": title, "stack": True, "axis": TICKS},
            "order": {"field": "at"},
            "color": {
                "field": "kind", "type": "nominal", "sort": kinds, "scale": _scale(kinds, colours), "title": None,
                "legend": LEGEND,
            },
            "tooltip": [{"field": "policy"}, {"field": "kind"}, {"field": value, "format": ".3~f"}],
        },
    )  # fmt: skip


def _kept_elsewhere(log: PolicyLog) -> int:
    """Accepted drafts of another node. A round that mixes both counts its remote ones first, since they head it."""
    rounds = log.rounds
    return int(rounds[["accepted", "remote_drafts"]].min(axis=1).sum())


def _scale(labels: Sequence[str], colours: Mapping[str, str]) -> dict[str, Any]:
    return {"domain": list(labels), "range": [colours[label] for label in labels]}


def _spread(ranked: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    if len(ranked) <= MOST_PROMPTS:
        return list(ranked)
    last = len(ranked) - 1
    return [ranked[round(i * last / (MOST_PROMPTS - 1))] for i in range(MOST_PROMPTS)]


def _as_rows(dots: Rows) -> Rows:
    return [{**dot, "low": None} for dot in dots]
