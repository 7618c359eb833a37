"""Invariant 4: what the log's tables say about the same thing must agree: tokens, rounds, passes, requests.

A run that breaks one of these has lost or doubled rows, and no metric computed from it can be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from testbed.results.metrics.base import PASS
from testbed.results.sampling import unverified_by_choice
from testbed.results.store import RunData

_REQUEST = ["policy", "repeat", "request"]


def broken(run: RunData) -> tuple[str, ...]:
    """One sentence for each law the log breaks."""
    return tuple(_broken(run))


def _broken(run: RunData) -> Iterator[str]:
    requests = run.requests.set_index(_REQUEST)
    if not requests.index.is_unique:
        yield f"{int(requests.index.duplicated().sum())} requests are logged twice"
        return
    output = requests["output_tokens"]
    yield from _compare(output, requests["tokens"].map(len), "output tokens", "the tokens kept")
    yield from _compare(output, requests["chunk_tokens"].map(sum), "output tokens", "the tokens that arrived in chunks")
    rounds = run.rounds.groupby(_REQUEST)
    # what a device hands out unverified came from no round, and the verdict it did not wait for is not output
    verified = output[~output.index.get_level_values("policy").isin(unverified_by_choice(run.manifest["policies"]))]
    emitted = rounds["emitted"].sum().reindex(verified.index, fill_value=0)
    # of a request that left a silent target, what that target had sent and what did not arrive is no output either
    moved = (rounds["node"].nunique().reindex(verified.index, fill_value=0) > 1) & (emitted >= verified)
    yield from _compare(verified[~moved], emitted[~moved], "output tokens", "the tokens that rounds emitted")
    verifies = run.steps[run.steps["kind"] == "verify"].groupby(_REQUEST).size()
    short = (rounds.size() - verifies.reindex(rounds.size().index, fill_value=0)) > 0
    if short.any():
        yield f"{_share(short)} have more rounds than verify passes"
    given_up = {one for of_policy in run.manifest.get("given_up", {}).values() for one in of_policy}
    for name, frame in (("rounds", run.rounds), ("steps", run.steps)):
        known = pd.MultiIndex.from_frame(frame[_REQUEST]).isin(requests.index) | frame["request"].isin(given_up)
        if not known.all():
            yield f"{int((~known).sum())} {name} belong to no logged request"
    batched = run.steps[run.steps["batch"] > 1]
    if len(batched):
        members = batched.groupby(PASS).agg(
            rows=("request", "size"), requests=("request", "nunique"), batch=("batch", "max")
        )
        wrong = (members["rows"] != members["batch"]) | (members["requests"] != members["batch"])
        if wrong.any():
            yield f"{int(wrong.sum())} of {len(wrong)} batched passes do not have one row per member"


def _compare(left: pd.Series[int], right: pd.Series[int], left_name: str, right_name: str) -> Iterator[str]:
    differs = left != right.reindex(left.index, fill_value=0)
    if differs.any():
        yield f"{_share(differs)} disagree between {left_name} and {right_name}"


def _share(flags: pd.Series[bool]) -> str:
    return f"{int(flags.sum())} of {len(flags)} requests"
