"""A made-up run from a little arithmetic: three policies, three nodes, eight requests. For tests of results and report.

Not a simulation: acceptance is a coin, WANSpec's rounds take their drafts in turn from the drafter and from the target.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from testbed.report.page import render
from testbed.results.records import LinkRow, MessageRow, RequestRow, Round, Step
from testbed.results.store import RunData, RunDirectory, frame_of
from testbed.results.summary import summarise
from testbed.results.validity import Counts

VERIFY_MS, DRAFT_MS = 23.4, 7.5
NEAR_MS, FAR_MS = 0.3, 7.5  # one way: user to target, target to drafter
SITES = {"user0": "us-east-1", "target0": "us-east-1", "drafter0": "us-east-2"}
POLICIES = ("autoregressive", "speculative", "wanspec")
REQUESTS, REPEATS, OUTPUT = 8, 2, 60
COUNTS = Counts(unmatched_packets=0, requests_per_policy=REQUESTS * REPEATS)


class Rows:
    """The log while it is written; times go in as milliseconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock_ms = 1_000.0
        self.kinds: dict[str, list[msgspec.Struct]] = {
            kind: [] for kind in ("requests", "rounds", "steps", "messages", "links")
        }
        self.job = 0

    def step(self, who: tuple[str, int, int], node: str, kind: str, at: float, position: int, tokens: int) -> float:
        """One pass from `at`; returns when the device is done."""
        policy, repeat, request = who
        self.job += 1
        paced = VERIFY_MS if kind == "verify" else DRAFT_MS
        real = (4.0 if kind == "verify" else 1.5) * self.random.lognormvariate(0, 0.2)
        end = at + paced + self.random.uniform(0.0, 0.1)
        self.kinds["steps"].append(
            Step(policy=policy, repeat=repeat, node=node, site=SITES[node],
                 model="target" if kind == "verify" else "draft", request=request, job=self.job, kind=kind,
                 submitted_ns=ns(at), started_ns=ns(at + 0.02), finished_ns=ns(end), paced_ms=paced, real_ms=real,
                 overrun_ms=0.0, position=position, tokens=tokens)
        )  # fmt: skip
        return end

    def message(self, who: tuple[str, int, int], kind: str, src: str, dst: str, at: float, tokens: int) -> float:
        """One message sent at `at`; returns when it arrives."""
        policy, repeat, request = who
        one_way = FAR_MS if "drafter0" in (src, dst) else NEAR_MS
        arrival = at + one_way + self.random.uniform(0.0, 0.2)
        self.kinds["messages"].append(
            MessageRow(policy=policy, repeat=repeat, request=request, kind=kind, src=src, dst=dst, sent_ns=ns(at),
                       received_ns=ns(arrival), size_bytes=24 + 3 * tokens, tokens=tokens)
        )  # fmt: skip
        return arrival


def ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)


def records(seed: int = 7) -> dict[str, list[msgspec.Struct]]:
    """Every row of the made-up run, by kind."""
    rows = Rows(seed)
    for policy in POLICIES:
        for repeat in range(REPEATS):
            for request in range(REQUESTS):
                _request(rows, (policy, repeat, request))
                rows.clock_ms += 5.0
    rows.kinds["links"] = [
        LinkRow(
            phase=phase, src=src, dst=dst, sent=200, received=200, specified_ms=2 * one_way,
            median_ms=2 * one_way + rows.random.uniform(0.02, 0.2), p99_ms=2 * one_way + rows.random.uniform(0.4, 1.2),
            one_way_specified_ms=one_way, one_way_median_ms=one_way + rows.random.uniform(0.02, 0.1),
        )
        for phase in ("before", "after")
        for src, dst, one_way in (
            ("user0", "target0", NEAR_MS), ("target0", "user0", NEAR_MS), ("user0", "drafter0", FAR_MS),
            ("drafter0", "user0", FAR_MS), ("target0", "drafter0", FAR_MS), ("drafter0", "target0", FAR_MS),
        )
    ]  # fmt: skip
    return rows.kinds


def manifest() -> dict[str, Any]:
    """What the engine would write, as far as results and report read it."""
    return {
        "run_id": "0123abcd", "experiment": "made-up", "engine": "emulation", "fabric": "relay",
        "fabric_reason": "the kernel has no netem", "nodes": "process",
        "scenario": {
            "name": "made-up", "seed": 7, "repeats": REPEATS,
            "place": {"user": SITES["user0"], "target": SITES["target0"], "drafter": SITES["drafter0"]},
            "workload": {"requests": REQUESTS, "output_tokens": OUTPUT},
            "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
        },
        "policies": [
            {"label": name, "name": name, "params": {} if name == "autoregressive" else {"k": 2},
             "place": {"user": "us-east-1", "target": "us-east-1", "drafter": "us-east-2"}} for name in POLICIES
        ],
        "models": {"target": {"name": "big", "sha256": "00ff00ff00"}, "draft": {"name": "small", "sha256": None}},
        "prompts": {"name": "prose", "sha256": "ff00"}, "topology": {"name": "made-up-map", "loss": {}},
        "node_placement": SITES,
        "machine": {"kernel": "Linux 6.1", "cores": 2, "cpu_model": "made-up CPU", "python": "CPython 3.11.2"},
        "before": {"load_average": [0.2, 0.1, 0.1], "cpu_ticks": {"total": 1000, "steal": 0}},
        "after": {"load_average": [1.2, 0.6, 0.3], "cpu_ticks": {"total": 9000, "steal": 16}},
    }  # fmt: skip


@cache
def usual() -> tuple[RunData, dict[str, Any]]:
    """The made-up run and its summary, made once: for those who change neither."""
    run = run_data()
    return run, summarise(run, COUNTS)


@cache
def usual_page() -> str:
    """Its page, drawn once."""
    return render(*usual())


def run_data(rows: dict[str, list[msgspec.Struct]] | None = None) -> RunData:
    """The made-up run in memory, or the same with other rows."""
    rows = records() if rows is None else rows
    return RunData(manifest=manifest(), **{kind: frame_of(kind, of_kind) for kind, of_kind in rows.items()})


def write_run(path: Path, rows: dict[str, list[msgspec.Struct]] | None = None) -> Path:
    """The made-up run as a run directory, summary included."""
    rows = records() if rows is None else rows
    path.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(path)
    directory.write_manifest(manifest())
    for kind, of_kind in rows.items():
        directory.write_rows(kind, of_kind)
    directory.write_summary(summarise(run_data(rows), COUNTS))
    return path


def _request(rows: Rows, who: tuple[str, int, int]) -> None:
    policy, repeat, request = who
    prompt_tokens, sent = 20 + request, rows.clock_ms
    now = round_start = rows.message(who, "request", "user0", "target0", sent, prompt_tokens)
    if policy == "wanspec":
        _remote_drafts(rows, who, rows.message(who, "open", "target0", "drafter0", now, prompt_tokens))
    arrivals: list[float] = []
    chunks: list[int] = []
    while (produced := sum(chunks)) < OUTPUT:
        index, position = len(chunks), prompt_tokens + produced
        drafts = 0 if policy == "autoregressive" else 2
        remote = drafts if policy == "wanspec" and index % 2 else 0
        for _ in range(drafts - remote):
            now = rows.step(who, "target0", "draft", now, position, 1)
        submitted = now
        now = rows.step(who, "target0", "verify", now, position, drafts + 1)
        accepted = 0
        while accepted < drafts and rows.random.random() < (0.80, 0.83)[accepted]:
            accepted += 1
        emitted = min(accepted + 1, OUTPUT - produced)
        chunks.append(emitted)
        arrivals.append(rows.message(who, "tokens", "target0", "user0", now, emitted))
        if policy == "wanspec":
            rows.message(who, "validation", "target0", "drafter0", now, emitted)
        rows.kinds["rounds"].append(
            Round(policy=policy, repeat=repeat, node="target0", request=request, index=index, position=position,
                  drafts=drafts, remote_drafts=remote, accepted=accepted, emitted=emitted,
                  started_ns=ns(round_start), verify_submitted_ns=ns(submitted), finished_ns=ns(now))
        )  # fmt: skip
        round_start = now
    if policy == "wanspec":
        _trim_drafter(rows, who, now)
    rows.kinds["requests"].append(
        RequestRow(policy=policy, repeat=repeat, node="user0", request=request, prompt_id=f"prose/{request}",
                   prompt_tokens=prompt_tokens, output_tokens=OUTPUT, scheduled_ns=ns(sent - 0.2), sent_ns=ns(sent),
                   first_token_ns=ns(arrivals[0]), finished_ns=ns(arrivals[-1]),
                   chunk_ns=tuple(ns(arrival) for arrival in arrivals), chunk_tokens=tuple(chunks),
                   tokens=tuple(range(OUTPUT)), lossless=True)
    )  # fmt: skip
    rows.clock_ms = arrivals[-1]


def _remote_drafts(rows: Rows, who: tuple[str, int, int], now: float) -> None:
    """The drafter drafts without pause; `_trim_drafter` takes away what lies after the request's end."""
    for position in range(3 * OUTPUT):
        now = rows.step(who, "drafter0", "draft", now, position, 1)
        rows.message(who, "speculation", "drafter0", "target0", now, 1)


def _trim_drafter(rows: Rows, who: tuple[str, int, int], end_ms: float) -> None:
    def late(row: Any) -> bool:
        if (row.policy, row.repeat, row.request) != who:
            return False
        if isinstance(row, Step):
            return row.node == "drafter0" and row.finished_ns > ns(end_ms)
        return isinstance(row, MessageRow) and row.src == "drafter0" and row.sent_ns > ns(end_ms)

    for kind in ("steps", "messages"):
        rows.kinds[kind] = [row for row in rows.kinds[kind] if not late(row)]
