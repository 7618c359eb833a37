"""Single requests as they happened, to zoom into: passes as bars, messages as lines, drafts as accepted or rejected.

Rule: the same prompts under every policy, so that one can be held against another; each time counts from the user's
send. What a pass or a message was stands in its tooltip. A request of very many passes is cut, and says where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd

from testbed.report.interactive.specs import LEGEND, TICKS, Rows, Spec, figure
from testbed.report.style import GREEN, GREY, ORANGE, PURPLE, SKY, VERIFY, VERMILION
from testbed.results.metrics import PolicyLog

MOST_PROMPTS = 5
MOST_ROWS = 9_000  # of all requests together: about 0.8 MB
USUAL_ROWS = 600  # of one request: fewer prompts are shown before requests are cut to less
ROUNDS = 8  # seen at first: with more, passes cannot be told apart at page width
LANE_PX = 46
FLIGHTS = {"speculation": GREEN, "branches": GREEN, "validation": PURPLE, "tokens": ORANGE}
OTHER_FLIGHT = "other message"
MARKS = {"verify pass": VERIFY, "draft pass": SKY, "draft accepted": GREEN, "draft rejected": VERMILION}


class Requests(NamedTuple):
    """`prompts` to choose from, the one to begin with first; rows of bars, flights and verdicts."""

    prompts: list[str]
    bars: Rows
    flights: Rows
    verdicts: Rows
    begin_ms: dict[str, float]  # by policy: how much of the first prompt is seen at first
    cut: bool


def requests(logs: Mapping[str, PolicyLog]) -> Requests | None:
    """Of the fastest, median and slowest prompts of the last policy that drafts away from the target, or at all."""
    prompts = choose(logs, max(1, min(MOST_PROMPTS, MOST_ROWS // (USUAL_ROWS * max(len(logs), 1)))))
    if not prompts:
        return None
    found = Requests(prompts, [], [], [], {}, False)
    most, cut = MOST_ROWS // (len(prompts) * len(logs)) // 3, False
    for prompt in prompts:
        for log in logs.values():
            keys = log.requests.index[log.requests["prompt_id"] == prompt]
            if not len(keys):
                continue
            one = _Request(log, keys[0], prompt)
            for rows, more in zip(found[1:4], (one.bars(), one.flights(), one.verdicts()), strict=True):
                taken = list(islice(more, most + 1))
                cut |= len(taken) > most
                rows.extend(taken[:most])
            if prompt == prompts[0]:
                found.begin_ms[log.label] = one.begin_ms()
    return found._replace(cut=cut)


def choose(logs: Mapping[str, PolicyLog], most: int) -> list[str]:
    """Spread over the ranks of end-to-end time, the median first."""
    some = [log for log in logs.values() if not log.requests.empty]
    if not some:
        return []
    drafting = [log for log in some if not log.drafts.empty]
    remote = [log for log in drafting if not log.drafts["node"].isin(log.target_nodes).all()]
    chosen = (remote or drafting or some)[-1]
    took = chosen.requests["finished_ns"] - chosen.requests["sent_ns"]
    ranked = list(dict.fromkeys(chosen.requests.loc[took.sort_values(kind="stable").index, "prompt_id"]))
    last = len(ranked) - 1
    places = [last // 2, *(round(i * last / max(most - 1, 1)) for i in range(most))]
    return [str(prompt) for prompt in dict.fromkeys(ranked[place] for place in places)][:most]


class _Request:
    """The rows of one request of one policy."""

    def __init__(self, log: PolicyLog, key: Any, prompt: str) -> None:
        self._log, self._key = log, key
        self._origin = int(log.requests.loc[key, "sent_ns"])
        self._of = {"policy": log.label, "prompt": prompt}

    def bars(self) -> Iterator[dict[str, Any]]:
        steps = self._mine(self._log.steps)
        rounds = self._mine(self._log.rounds).set_index("finished_ns")
        for step in steps.sort_values("started_ns").to_dict("records"):
            what = f"{step['tokens']} tokens" + (f", one of {step['batch']} requests" if step["batch"] > 1 else "")
            if step["kind"] == "verify" and step["finished_ns"] in rounds.index:
                about = rounds.loc[[step["finished_ns"]]].iloc[0]
                what += f"; {about['accepted']} of {about['drafts']} drafts accepted, {about['emitted']} tokens emitted"
            yield {**self._of, "node": step["node"], "kind": f"{step['kind']} pass", "what": what,
                   "from": self._ms(step["started_ns"]), "to": self._ms(step["finished_ns"])}  # fmt: skip

    def flights(self) -> Iterator[dict[str, Any]]:
        for sent in self._mine(self._log.messages).sort_values("sent_ns").to_dict("records"):
            kind = sent["kind"] if sent["kind"] in FLIGHTS else OTHER_FLIGHT
            yield {**self._of, "node": sent["src"], "node2": sent["dst"], "kind": kind,
                   "from": self._ms(sent["sent_ns"]), "to": self._ms(sent["received_ns"]),
                   "what": f"{sent['kind']}, {sent['tokens']} tokens, {sent['size_bytes']} bytes"}  # fmt: skip

    def verdicts(self) -> Iterator[dict[str, Any]]:
        """A mark for each verified draft, along the pass that judged it."""
        for one in self._mine(self._log.rounds).sort_values("finished_ns").to_dict("records"):
            length = one["finished_ns"] - one["verify_submitted_ns"]
            for number in range(one["drafts"]):
                at = one["verify_submitted_ns"] + length * (number + 1) / (one["drafts"] + 1)
                kind = "draft accepted" if number < one["accepted"] else "draft rejected"
                yield {**self._of, "node": one["node"], "kind": kind, "from": self._ms(at),
                       "what": f"draft {number + 1} of {one['drafts']} in round {one['index']}"}  # fmt: skip

    def begin_ms(self) -> float:
        """The end of the first rounds."""
        ends = self._mine(self._log.rounds)["finished_ns"].sort_values().iloc[:ROUNDS]
        last = self._log.requests.loc[self._key, "finished_ns"] if ends.empty else ends.iloc[-1]
        return self._ms(int(last))

    def _mine(self, frame: pd.DataFrame) -> pd.DataFrame:
        repeat, request = self._key
        mine: pd.DataFrame = frame[(frame["repeat"] == repeat) & (frame["request"] == request)]
        return mine

    def _ms(self, ns: float) -> float:
        return round((ns - self._origin) / 1e6, 2)


def spec(found: Requests, label: str) -> Spec:
    """One policy's requests: a lane a node; dragged and zoomed along the time, on an axis that all policies share."""
    mine = {name: [row for row in getattr(found, name) if row["policy"] == label] for name in found._fields[1:4]}
    lanes = _lanes(mine["bars"], mine["flights"])
    chosen = {"filter": "datum.prompt === prompt"}
    y = {"field": "node", "type": "nominal", "sort": lanes, "title": None, "scale": {"domain": lanes}}
    x = {
        "field": "from",
        "type": "quantitative",
        "title": "ms since the user's send",
        "axis": TICKS,
        "scale": {"nice": False},
    }
    kinds = {
        **MARKS,
        **{kind: FLIGHTS.get(kind, GREY) for kind in dict.fromkeys(row["kind"] for row in mine["flights"])},
    }
    used = [kind for kind in kinds if any(row["kind"] == kind for rows in mine.values() for row in rows)]
    ink = {
        "field": "kind", "type": "nominal", "title": None,
        "scale": {"domain": used, "range": [kinds[kind] for kind in used]},
        "legend": LEGEND,
    }  # fmt: skip
    tips = [
        {"field": "kind"}, {"field": "what"}, {"field": "node"},
        {"field": "from", "format": ".2f", "title": "from ms"}, {"field": "to", "format": ".2f", "title": "to ms"},
    ]  # fmt: skip
    drawn = figure(
        lanes,
        LANE_PX,
        layer=[
            {"data": {"values": mine["flights"]}, "transform": [chosen],
             "mark": {"type": "rule", "clip": True, "strokeWidth": 1.2, "aria": False},
             "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"field": "node2"}, "color": ink,
                          "tooltip": [*tips[:3], {"field": "node2", "title": "to node"}, *tips[3:]]}},
            {"data": {"values": mine["bars"]}, "transform": [chosen],
             "params": [{"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales",
                         "value": {"x": [0, max(found.begin_ms.values())]}}],
             "mark": {"type": "bar", "clip": True, "height": {"band": 0.42}, "stroke": "white", "strokeWidth": 0.4,
                      "aria": False},
             "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "color": ink, "tooltip": tips}},
            {"data": {"values": mine["verdicts"]}, "transform": [chosen],
             "mark": {"type": "point", "clip": True, "filled": True, "opacity": 1, "size": 26, "yOffset": -17,
                      "aria": False},
             "encoding": {"x": x, "y": y, "color": ink, "tooltip": tips[:3],
                          "shape": {"field": "kind", "legend": None, "scale": {
                              "domain": ["draft accepted", "draft rejected"], "range": ["circle", "cross"]}}}},
        ],
    )  # fmt: skip
    drawn["layer"] = [layer for layer in drawn["layer"] if layer["data"]["values"]]
    drawn["params"].append({"name": "prompt", "value": found.prompts[0]})
    return drawn


def _lanes(bars: Rows, flights: Rows) -> list[str]:
    """Users first, then who verifies, then the others, as tokens flow."""
    verifying = {row["node"] for row in bars if row["kind"] == "verify pass"}
    computing = {row["node"] for row in bars}
    nodes = computing | {row["node"] for row in flights} | {row["node2"] for row in flights}
    return sorted(nodes, key=lambda node: (node in computing, node not in verifying, node))
