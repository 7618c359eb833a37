"""AIPerf's `profile_export.jsonl`: a line a request, as its own exporter writes them; a folder a policy.

`aiperf plot`, and whatever else reads that file, reads these. Metrics are AIPerf's, by its formulas
(`testbed.results.export.equivalents`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from testbed.files.whole import replacing
from testbed.results.export.equivalents import EQUIVALENTS
from testbed.results.export.measured import Measured
from testbed.system.units import NS_PER_MS, NS_PER_S

FILE = "profile_export.jsonl"
NAMES = {tag: one.aiperf for tag, one in EQUIVALENTS.items()}


def write(run: Measured, folder: Path) -> Iterator[Path]:
    for label in run.labels:
        path = folder / label / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in records(run, label)), encoding="utf-8")
        yield path


def records(run: Measured, label: str) -> Iterator[dict[str, Any]]:
    """Of one policy; repeats follow each other."""
    rounds = dict(list(run.rounds_of(label).groupby(["repeat", "request"])))
    for number, (_, request) in enumerate(run.requests_of(label).iterrows()):
        accepted = rounds.get((request["repeat"], request["request"]))
        yield {
            "metadata": {
                "session_num": number,
                "x_request_id": f"{run.run_id}-{label}-{request['repeat']}-{request['request']}",
                "conversation_id": request["prompt_id"],
                "turn_index": 0,
                "credit_issued_ns": run.wall_ns(request["scheduled_ns"]),
                "request_start_ns": run.wall_ns(request["sent_ns"]),
                "request_end_ns": run.wall_ns(request["finished_ns"]),
                "worker_id": str(request["node"]),
                "record_processor_id": "wan-testbed",
                "benchmark_phase": "profiling",
                "was_cancelled": False,
            },
            "metrics": {**_latencies(request), **({} if accepted is None else _speculation(accepted))},
        }


def _latencies(request: pd.Series[Any]) -> dict[str, Any]:
    tokens = int(request["output_tokens"])
    latency_ns = int(request["finished_ns"] - request["sent_ns"])
    found = {
        "request_latency": _value(latency_ns / NS_PER_MS, "ms"),
        "input_sequence_length": _value(int(request["prompt_tokens"]), "tokens"),
        "output_sequence_length": _value(tokens, "tokens"),
        "output_token_count": _value(tokens, "tokens"),
    }
    if tokens >= 1:
        found[str(NAMES["ttft_ms"])] = _value((request["first_token_ns"] - request["sent_ns"]) / NS_PER_MS, "ms")
    if len(request["chunk_ns"]) >= 2:
        gaps = np.diff(np.asarray(request["chunk_ns"], dtype=np.int64)) / NS_PER_MS
        found[str(NAMES["chunk_gap_ms"])] = _value(gaps.tolist(), "ms")
    decode_ns = int(request["finished_ns"] - request["first_token_ns"])
    if tokens >= 2:
        found[str(NAMES["tpot_ms"])] = _value(decode_ns / (tokens - 1) / NS_PER_MS, "ms")
    if tokens >= 2 and decode_ns:
        rate = (tokens - 1) / (decode_ns / NS_PER_S)
        found["output_token_throughput_per_user"] = _value(rate, "tokens/sec/user")
    return found


def _speculation(rounds: pd.DataFrame) -> dict[str, Any]:
    """Of a request with rounds that verified drafts. All that was verified counts, also past the output's end."""
    steps, drafts, accepted = len(rounds), int(rounds["drafts"].sum()), int(rounds["accepted"].sum())
    return {
        "spec_decode_steps": _value(steps, "count"),
        "spec_decode_draft_tokens": _value(drafts, "tokens"),
        "spec_decode_accepted_draft_tokens": _value(accepted, "tokens"),
        "spec_decode_acceptance_length": _value(1 + accepted / steps, "ratio"),
        "spec_decode_draft_acceptance_rate": _value(100 * accepted / drafts, "%"),
    }


def _value(value: float | list[float], unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit}
