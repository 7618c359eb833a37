"""The result file of `vllm bench serve --save-result --save-detailed`: one JSON a policy, by vLLM's own formulas.

Its plots and comparisons read it. What differs from our metrics of the same idea stands in
`testbed.results.export.equivalents`. Texts are left out: a run keeps tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from testbed.files.whole import replacing
from testbed.results.export.equivalents import EQUIVALENTS, VLLM_STATISTICS
from testbed.results.export.measured import Measured
from testbed.system.units import NS_PER_S

MS_PER_S = 1000.0


def write(run: Measured, folder: Path) -> Iterator[Path]:
    for label in run.labels:
        path = folder / f"{label}.json"
        with replacing(path) as partial:
            partial.write_text(json.dumps(result(run, label), allow_nan=False) + "\n", encoding="utf-8")
        yield path


def result(run: Measured, label: str) -> dict[str, Any]:
    """Of one policy. The duration is from the first send to the last end, of its repeats together."""
    requests = run.requests_of(label)
    latencies = _seconds(requests["finished_ns"] - requests["sent_ns"])
    ttfts = _seconds(requests["first_token_ns"] - requests["sent_ns"])
    tokens = requests["output_tokens"].to_numpy(int)
    gaps = [np.diff(np.asarray(arrivals, dtype=np.int64)) / NS_PER_S for arrivals in requests["chunk_ns"]]
    many = tokens > 1
    by_repeat = requests.groupby("repeat").agg(first=("sent_ns", "min"), last=("finished_ns", "max"))
    duration = float(_seconds(by_repeat["last"] - by_repeat["first"]).sum())
    inputs, outputs = int(requests["prompt_tokens"].sum()), int(tokens.sum())
    models = run.data.manifest["models"]
    return {
        "date": datetime.fromtimestamp(run.wall_ns(_first(requests)) / NS_PER_S, UTC).strftime("%Y%m%d-%H%M%S"),
        "backend": "wan-testbed",
        "label": label,
        "model_id": models["target"]["name"],
        "tokenizer_id": models["target"]["name"],
        "num_prompts": len(requests),
        "request_rate": "inf",
        "max_concurrency": None,
        "duration": duration,
        "completed": len(requests),
        "failed": 0,
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": _per(len(requests), duration),
        "request_goodput": None,
        "output_throughput": _per(outputs, duration),
        "total_token_throughput": _per(inputs + outputs, duration),
        "input_lens": requests["prompt_tokens"].tolist(),
        "output_lens": tokens.tolist(),
        "ttfts": ttfts.tolist(),
        "itls": [one.tolist() for one in gaps],
        "latencies": latencies.tolist(),
        "start_times": _seconds(requests["sent_ns"] - _first(requests)).tolist(),
        "queue_times": _seconds(requests["sent_ns"] - requests["scheduled_ns"]).tolist(),
        "errors": [""] * len(requests),
        **_speculation(run.rounds_of(label)),
        **_statistics("ttft_ms", ttfts),
        **_statistics("tpot_ms", (latencies - ttfts)[many] / (tokens[many] - 1)),
        **_statistics("chunk_gap_ms", np.concatenate([*gaps, np.empty(0)])),
        **_statistics("e2e_ms", latencies),
    }


def _speculation(rounds: pd.DataFrame) -> dict[str, Any]:
    """All that was verified counts, also past the output's end; nothing for a policy that verified no drafts."""
    if rounds.empty:
        return {}
    drafts, accepted = int(rounds["drafts"].sum()), int(rounds["accepted"].sum())
    longest = int(rounds["drafts"].max())
    return {
        "spec_decode_acceptance_rate": 100 * accepted / drafts,
        "spec_decode_acceptance_length": 1 + accepted / len(rounds),
        "spec_decode_num_drafts": len(rounds),
        "spec_decode_draft_tokens": drafts,
        "spec_decode_accepted_tokens": accepted,
        "spec_decode_per_position_acceptance_rates": [
            float((rounds["accepted"] >= position).mean()) for position in range(1, longest + 1)
        ],
    }


def _statistics(tag: str, seconds: NDArray[np.float64]) -> dict[str, float]:
    """Under vLLM's name, in ms; 0 where there is nothing, as vLLM has it."""
    values = seconds * MS_PER_S if len(seconds) else np.zeros(1)
    found = (values.mean(), np.median(values), values.std(), np.percentile(values, 99))
    name = EQUIVALENTS[tag].vllm
    return {f"{kind}_{name}_ms": float(value) for kind, value in zip(VLLM_STATISTICS, found, strict=True)}


def _first(requests: pd.DataFrame) -> int:
    return int(requests["sent_ns"].min()) if len(requests) else 0


def _seconds(ns: pd.Series[Any]) -> NDArray[np.float64]:
    return ns.to_numpy(np.int64) / NS_PER_S


def _per(count: int, seconds: float) -> float:
    return count / seconds if seconds else 0.0
