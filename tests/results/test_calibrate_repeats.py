"""Requests with the same prompt are paired one with one, in their order, and not each with each."""

from __future__ import annotations

import pytest

from testbed.results.store import RunData
from testbed.simulation.calibrate import paired
from tests.results.tiny_log import ns, request, run


def asked_again(shift_ms: float) -> RunData:
    """One prompt three times, each answer a millisecond longer than the one before."""
    rows = [request("speculative", number, 0, [(10.0 + number + shift_ms, 1), (20.0, 1)]) for number in (0, 0, 0)]
    numbered = [
        type(row)(**{**{name: getattr(row, name) for name in row.__struct_fields__}, "request": 5 - number,
                     "first_token_ns": ns(10.0 + number + shift_ms)})
        for number, row in enumerate(rows)
    ]  # fmt: skip
    return run({"requests": numbered})


def test_the_nth_request_with_a_prompt_meets_the_nth() -> None:
    both = paired(asked_again(0.0), asked_again(0.5))
    ttft = both[both["metric"] == "ttft_ms"]
    assert len(ttft) == 3
    assert (ttft["simulated"] - ttft["emulated"]).to_list() == pytest.approx([0.5] * 3)
    assert sorted(ttft["emulated"]) == pytest.approx([10.0, 11.0, 12.0])
