"""Which metric of `vllm bench serve` and AIPerf is which of ours, and where the formulas differ: the one text of it.

The exporters take their names from here, and docs/reference/metric-names.md is made of it. Looked up in AIPerf 0.13.0
(`aiperf/metrics/types`) and in vLLM's `vllm/benchmarks/serve.py`, main of September 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

VLLM_STATISTICS = ("mean", "median", "std", "p99")  # what `vllm bench serve` prints of each


class Equivalent(NamedTuple):
    """None: the tool has nothing like it."""

    aiperf: str | None
    vllm: str | None
    difference: str  # in formula; empty: none


EQUIVALENTS: Mapping[str, Equivalent] = MappingProxyType({
    "ttft_ms": Equivalent(
        "time_to_first_token",
        "ttft",
        "none, as long as requests stream. By the client's clock; ours is that of the user's node, in the run's time",
    ),
    "tpot_ms": Equivalent(
        "inter_token_latency",
        "tpot",
        "AIPerf calls it inter-token latency, and takes off the tokens of the whole first chunk where the server says "
        "them (`--per-chunk-usage`), else 1 as we and vLLM do. vLLM counts a reply of one token as 0 for goodput",
    ),
    "chunk_gap_ms": Equivalent(
        "inter_chunk_latency",
        "itl",
        "vLLM calls the gap between two chunks inter-token latency (`itl`). With speculation a chunk holds several "
        "tokens, so it is longer than the time per token",
    ),
    "e2e_ms": Equivalent("request_latency", "e2el", "none"),
    "dispatch_delay_ms": Equivalent(
        None, "client_queue_time", "vLLM's is the wait for its own limit of concurrency alone"
    ),
    "scheduled_e2e_ms": Equivalent(
        None, "e2el_including_client_queue", "vLLM's clock starts at its limit of concurrency, ours at the schedule"
    ),
    "acceptance_rate": Equivalent(
        "spec_decode_overall_draft_acceptance_rate",
        "spec_decode_acceptance_rate",
        "theirs are percentages over all verified tokens; ours is a share, without tokens past the output's end",
    ),
    "tokens_per_round": Equivalent(
        "spec_decode_token_weighted_acceptance_length",
        "spec_decode_acceptance_length",
        "theirs is 1 + accepted / rounds, also in the last round; ours counts what was emitted, so a last round that "
        "is cut counts less",
    ),
    "acceptance_by_position": Equivalent(
        None,
        "spec_decode_per_position_acceptance_rates",
        "vLLM divides by all rounds, we by rounds that verified a draft at the position: ours is higher where drafts "
        "differ in length",
    ),
    "slo_attainment": Equivalent(
        "good_request_fraction",
        None,
        "theirs is by limits of latency that the user gives; ours by the token rate of each user's SLO",
    ),
    "request_goodput": Equivalent(
        "goodput",
        "request_goodput",
        "as for attainment: theirs by limits of latency, ours by the SLO's token rate, so it is not exported under "
        "their name",
    ),
    "token_goodput": Equivalent(None, None, "output tokens of good requests alone; inference-perf adds input tokens"),
})  # fmt: skip
