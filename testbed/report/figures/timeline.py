"""One request as it happened: passes as bars in one lane per node, messages as slanted lines between the lanes.

The same prompt under each of the chosen policies, on one time axis from the user's send, so that waiting shows as gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from testbed.report.style import BLACK, DRAFT, GREEN, GREY, ORANGE, PURPLE, VERIFY, new_figure
from testbed.results.metrics import PolicyLog

ROUNDS = 8  # more than this and single passes cannot be told apart at page width
MESSAGE_COLOURS = {"speculation": GREEN, "branches": GREEN, "validation": PURPLE, "tokens": ORANGE}
LANE, BAR = 1.0, 0.30


@dataclass(frozen=True)
class Shown:
    """One request of one policy, cut to its first rounds; `origin_ns` is the send."""

    label: str
    origin_ns: int
    end_ns: int
    rounds: int
    of_rounds: int
    steps: pd.DataFrame
    messages: pd.DataFrame


def choose(logs: Mapping[str, PolicyLog]) -> tuple[str, list[Shown]]:
    """The prompt whose request was the median of the last policy that drafts, under it and under its baseline."""
    drafting = [log for log in logs.values() if not log.drafts.empty and not log.requests.empty]
    if not drafting:
        return "", []
    remote = [log for log in drafting if not log.drafts["node"].isin(log.target_nodes).all()]
    chosen = (remote or drafting)[-1]
    e2e = chosen.requests["finished_ns"] - chosen.requests["sent_ns"]
    key = e2e.sort_values(kind="stable").index[(len(e2e) - 1) // 2]
    prompt = str(chosen.requests.loc[key, "prompt_id"])
    shown = [_cut(chosen, key)]
    if chosen.baseline is not None and chosen.baseline.label != chosen.label:
        twins = chosen.baseline.requests.index[chosen.baseline.requests["prompt_id"] == prompt]
        shown = [_cut(chosen.baseline, key if key in twins else twin) for twin in twins[:1]] + shown
    return prompt, shown


def draw(shown: Sequence[Shown]) -> Figure:
    heights = [max(len(_lanes(one)), 2) for one in shown]
    figure, axes = new_figure(
        0.9 + 0.62 * sum(heights), rows=len(shown), sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for ax, one in zip(axes, shown, strict=True):
        _request(ax, one)
    axes[-1].set_xlabel("time since the user's send (ms)")
    kinds = {kind for one in shown for kind in one.messages["kind"]}
    handles: list[Artist] = [
        Patch(color=VERIFY, label="verify pass (target model)"),
        Patch(color=DRAFT, label="draft pass (draft model)"),
        *(Line2D([], [], color=c, label=f"{kind} message") for kind, c in MESSAGE_COLOURS.items() if kind in kinds),
    ]
    if kinds - set(MESSAGE_COLOURS):
        handles.append(Line2D([], [], color=GREY, label="other message"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8)
    return figure


def _cut(log: PolicyLog, key: tuple[int, int]) -> Shown:
    repeat, request = key

    def mine(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["repeat"] == repeat) & (frame["request"] == request)]

    origin = int(log.requests.loc[key, "sent_ns"])  # type: ignore[arg-type]
    rounds = mine(log.rounds).sort_values("finished_ns")
    ends = rounds["finished_ns"].tolist() or [int(log.requests.loc[key, "finished_ns"])]  # type: ignore[arg-type]
    last = min(ROUNDS, len(ends))
    # A little past the round's end, so that its tokens are seen to arrive.
    end = int(ends[last - 1] + 0.03 * (ends[last - 1] - origin))
    steps, messages = mine(log.steps), mine(log.messages)
    return Shown(
        log.label, origin, end, last, len(ends),
        steps[(steps["started_ns"] < end) & (steps["finished_ns"] > origin)],
        messages[(messages["sent_ns"] < end) & (messages["received_ns"] >= origin)],
    )  # fmt: skip


def _lanes(one: Shown) -> list[str]:
    """Nodes from top to bottom: users, then who verifies, then the others, as tokens flow."""
    verifying = set(one.steps.loc[one.steps["kind"] == "verify", "node"])
    computing = set(one.steps["node"])
    nodes = computing | set(one.messages["src"]) | set(one.messages["dst"])
    return sorted(nodes, key=lambda node: (node in computing, node not in verifying, node))


def _request(axes: Axes, one: Shown) -> None:
    lanes = _lanes(one)
    height = {node: -LANE * i for i, node in enumerate(lanes)}

    def at(ns: pd.Series[int]) -> pd.Series[float]:
        return (ns - one.origin_ns) / 1e6

    for kind, colour in (("draft", DRAFT), ("verify", VERIFY)):
        for node, passes in one.steps[one.steps["kind"] == kind].groupby("node"):
            starts = at(passes["started_ns"])
            spans = list(zip(starts, at(passes["finished_ns"]) - starts, strict=True))
            axes.broken_barh(
                spans, (height[str(node)] - BAR / 2, BAR), facecolor=colour, edgecolor="white", linewidth=0.5, zorder=3
            )
    flights = zip(
        one.messages["kind"], one.messages["src"], one.messages["dst"], at(one.messages["sent_ns"]),
        at(one.messages["received_ns"]), strict=True,
    )  # fmt: skip
    for kind, src, dst, sent, received in flights:
        away = -BAR / 2 if height[dst] < height[src] else BAR / 2  # from edge to edge of the bars
        axes.plot(
            [sent, received], [height[src] + away, height[dst] - away],
            color=MESSAGE_COLOURS.get(kind, GREY), linewidth=0.9, zorder=2,
        )  # fmt: skip
    for node in lanes:
        axes.axhline(height[node], color="#C8C8C8", linewidth=0.8, zorder=1)
    axes.set_yticks([height[node] for node in lanes], lanes)
    axes.tick_params(axis="y", length=0, labelcolor=BLACK)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-LANE * (len(lanes) - 1) - 0.4, 0.4)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(left=0)
    axes.set_title(f"{one.label}: first {one.rounds} of {one.of_rounds} rounds")
