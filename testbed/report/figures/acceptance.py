"""Where verified drafts came from, and how often the target agreed with the first, the second, and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from testbed.report.style import DRAFT, VERIFY, dashes, new_figure
from testbed.results.metrics import PolicyLog


def draw(
    logs: Mapping[str, PolicyLog], policies: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]
) -> Figure:
    """`policies` as in summary.json."""
    drafting = {label: log for label, log in logs.items() if int(log.rounds["drafts"].sum()) > 0}
    figure, (left, right) = new_figure(max(2.3, 1.2 + 0.4 * len(drafting)), columns=2)
    right.set_ylabel("share accepted up to here", labelpad=8)
    for row, log in enumerate(drafting.values()):
        drafts, remote = int(log.rounds["drafts"].sum()), int(log.rounds["remote_drafts"].sum())
        local = (drafts - remote) / drafts
        names = ("target's node", "another node") if row == 0 else (None, None)
        left.barh(row, local, height=0.55, color=VERIFY, label=names[0])
        left.barh(row, 1 - local, left=local, height=0.55, color=DRAFT, hatch="///", edgecolor="white", label=names[1])
    remote_shares = [log.rounds["remote_drafts"].sum() / log.rounds["drafts"].sum() for log in drafting.values()]
    for row, share in enumerate(remote_shares):
        left.annotate(
            f"{share:.0%} from another node", (1, row), xytext=(-4, 0), textcoords="offset points", ha="right",
            va="center", fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    left.set_yticks(range(len(drafting)), list(drafting))
    left.invert_yaxis()
    left.grid(axis="y", visible=False)
    left.tick_params(axis="y", length=0)
    left.set_xlim(0, 1)
    left.set_xlabel("share of verified draft tokens")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    styles = dashes(colours)
    longest = 1
    for label in drafting:
        by_position = policies[label]["acceptance_by_position"]
        values = by_position["value"] if by_position else []
        longest = max(longest, len(values))
        right.plot(range(1, len(values) + 1), values, marker="o", markersize=4.5, linestyle=styles[label],
                   color=colours[label], label=label)  # fmt: skip
    right.set_xticks(range(1, longest + 1))
    right.set_xlim(0.6, longest + 0.4)
    right.set_ylim(0, 1.05)
    right.set_xlabel("draft position in the round")
    right.legend(loc="best", fontsize=8)
    return figure
