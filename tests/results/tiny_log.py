"""A log small enough to compute every metric by hand. Times in milliseconds; the comments carry the arithmetic."""

from __future__ import annotations

from typing import Any

import msgspec

from testbed.results.records import LinkRow, MessageRow, RequestRow, Round, Step
from testbed.results.store import RunData, frame_of
from testbed.results.validity import Counts

Rows = dict[str, list[Any]]
POLICIES = ("autoregressive", "speculative", "wanspec")
WAYS = {
    "request": ("user0", "target0"), "tokens": ("target0", "user0"), "speculation": ("drafter0", "target0"),
    "validation": ("target0", "drafter0"),
}  # fmt: skip
COUNTS = Counts(unmatched_packets=0, requests_per_policy=2)


def ns(milliseconds: float) -> int:
    return round((1000 + milliseconds) * 1e6)


def draft(policy: str, request: int, node: str, start: float, end: float) -> Step:
    return _step(policy, request, node, "draft", start, end)


def verify(policy: str, request: int, start: float, end: float) -> Step:
    return _step(policy, request, "target0", "verify", start, end)


def one_round(policy: str, request: int, index: int, start: float, end: float, counts: tuple[int, int, int]) -> Round:
    drafts, accepted, emitted = counts
    return Round(policy=policy, repeat=0, node="target0", request=request, index=index, position=10 + index,
                 drafts=drafts, remote_drafts=0, accepted=accepted, emitted=emitted, started_ns=ns(start),
                 verify_submitted_ns=ns(start), finished_ns=ns(end))  # fmt: skip


def request(policy: str, number: int, sent: float, arrivals: list[tuple[float, int]]) -> RequestRow:
    """`arrivals`: when each chunk arrived and how many tokens it held. Scheduled 1 ms before it was sent."""
    output = sum(tokens for _, tokens in arrivals)
    return RequestRow(policy=policy, repeat=0, node="user0", request=number, prompt_id="ab"[number], prompt_tokens=10,
                      output_tokens=output, scheduled_ns=ns(sent - 1), sent_ns=ns(sent),
                      first_token_ns=ns(arrivals[0][0]), finished_ns=ns(arrivals[-1][0]),
                      chunk_ns=tuple(ns(at) for at, _ in arrivals), chunk_tokens=tuple(n for _, n in arrivals),
                      tokens=tuple(range(output)), lossless=True)  # fmt: skip


def link(phase: str = "before", specified: float = 20.0, median: float = 20.1, p99: float = 21.0,
         received: int = 200, sent: int = 200) -> LinkRow:  # fmt: skip
    return LinkRow(phase=phase, src="target0", dst="drafter0", specified_ms=specified, median_ms=median, p99_ms=p99,
                   one_way_specified_ms=specified / 2, one_way_median_ms=median / 2, sent=sent,
                   received=received)  # fmt: skip


def rows() -> Rows:
    """Two prompts, a and b, under three policies."""
    a, s, w = POLICIES
    return {
        "requests": [
            request(a, 0, 0, [(11, 1), (21, 1), (31, 1), (41, 1)]),
            request(a, 1, 100, [(111, 1)]),
            request(s, 0, 0, [(17, 3), (32, 1)]),
            request(s, 1, 100, [(119, 1)]),
            request(w, 0, 0, [(16, 3), (24, 1)]),
            request(w, 1, 100, [(138, 1)]),
        ],
        "rounds": [
            *(one_round(a, 0, i, 10 * i, 10 * i + 10, (0, 0, 1)) for i in range(4)),
            one_round(a, 1, 0, 100, 110, (0, 0, 1)),
            one_round(s, 0, 0, 1, 16, (2, 2, 3)),  # 15 ms wall, 2 + 2 + 10 ms paced
            one_round(s, 0, 1, 16, 31, (2, 1, 1)),  # cut: the output ends with an accepted draft
            one_round(s, 1, 0, 101, 118, (2, 0, 1)),  # 17 ms wall, 14 ms paced
            one_round(w, 0, 0, 1, 16, (2, 2, 3)),
            one_round(w, 0, 1, 16, 23, (0, 0, 1)),
            one_round(w, 1, 0, 101, 137, (2, 0, 1)),
        ],
        "steps": [
            *(verify(a, 0, 10 * i, 10 * i + 10) for i in range(4)),
            verify(a, 1, 100, 110),
            draft(s, 0, "target0", 1, 3), draft(s, 0, "target0", 3, 5), verify(s, 0, 5, 15),
            draft(s, 0, "target0", 16, 18), draft(s, 0, "target0", 18, 20), verify(s, 0, 20, 30),
            draft(s, 1, "target0", 101, 103), draft(s, 1, "target0", 103, 105), verify(s, 1, 105, 115),
            draft(w, 0, "target0", 1, 3), verify(w, 0, 5, 15), verify(w, 0, 17, 22),
            # Away from the target, 4 + 4 + 1 ms, of which 2 + 2 + 0 ms while the target verifies.
            draft(w, 0, "drafter0", 3, 7), draft(w, 0, "drafter0", 13, 17), draft(w, 0, "drafter0", 40, 41),
            draft(w, 1, "target0", 101, 103), draft(w, 1, "target0", 103, 105), verify(w, 1, 120, 130),
        ],
        "messages": [
            message(w, 0, "request", 0, 1), message(w, 1, "request", 100, 103),
            message(w, 0, "speculation", 7, 12), message(w, 0, "speculation", 17, 24, size=10),
            message(w, 0, "validation", 15, 19), message(w, 1, "tokens", 137, 138),
            message(w, 0, "tokens", 15, 16), message(w, 0, "tokens", 22, 24, size=10),
        ],
        "links": [link("before"), link("after", median=20.2)],
    }  # fmt: skip


def message(policy: str, number: int, kind: str, sent: float, received: float, size: int = 5) -> MessageRow:
    src, dst = WAYS[kind]
    return MessageRow(policy=policy, repeat=0, request=number, kind=kind, src=src, dst=dst, sent_ns=ns(sent),
                      received_ns=ns(received), size_bytes=size, tokens=1)  # fmt: skip


def run(changed: Rows | None = None, **manifest: Any) -> RunData:
    """The tiny run; `changed` replaces whole kinds, keywords replace manifest entries."""
    frames = {kind: frame_of(kind, of_kind) for kind, of_kind in {**rows(), **(changed or {})}.items()}
    return RunData(
        manifest={
            "run_id": "tiny", "experiment": "by-hand", "engine": "emulation", "fabric": "relay", "nodes": "process",
            "policies": [{"label": name, "name": name, "params": {}, "place": {}} for name in POLICIES],
            "scenario": {"seed": 1}, "topology": {"loss": {}},
            "node_placement": {"user0": "east", "target0": "east", "drafter0": "west"}, **manifest,
        },
        **frames,
    )  # fmt: skip


def altered(kind: str, at: int, **fields: Any) -> Rows:
    """The tiny log's rows of one kind with some fields of row `at` changed."""
    of_kind = rows()[kind]
    of_kind[at] = msgspec.structs.replace(of_kind[at], **fields)
    return {kind: of_kind}


def _step(policy: str, number: int, node: str, kind: str, start: float, end: float) -> Step:
    job = round(10 * start)  # its own job each
    return Step(policy=policy, repeat=0, node=node, site="here", model="target" if kind == "verify" else "draft",
                request=number, job=job, kind=kind, submitted_ns=ns(start - 0.5), started_ns=ns(start),
                finished_ns=ns(end), paced_ms=end - start, real_ms=1.0, overrun_ms=0.0, position=10,
                tokens=1)  # fmt: skip
