"""Promises, goodput, drafting for nothing and interference, from a log whose every number can be checked by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from testbed.results.metrics import REGISTRY
from testbed.results.metrics.base import KEY, PolicyLog
from testbed.results.records import MessageRow, RequestRow, Round, Step
from testbed.results.store import frame_of


def ns(ms: float) -> int:
    return round(ms * 1e6)


def request(number: int, rate: float | None, chunks: list[tuple[float, int]]) -> RequestRow:
    """Sent at 0; `chunks` are (arrival in ms, tokens)."""
    count = sum(tokens for _, tokens in chunks)
    return RequestRow(
        "wisp", 0, f"user{number}", number, f"p{number}", 4, count, 0, 0, ns(chunks[0][0]), ns(chunks[-1][0]),
        tuple(ns(at) for at, _ in chunks), tuple(tokens for _, tokens in chunks), tuple(range(count)), True, rate,
    )  # fmt: skip


REQUESTS = [
    # 10 tokens in 2 s after the first: (11 - 1) / 2 = 5 a second. Chunk gaps 1 s with 4 tokens, 1 s with 6.
    request(0, 5.0, [(500, 1), (1500, 4), (2500, 6)]),
    request(1, 6.0, [(500, 1), (1500, 4), (2500, 6)]),
    request(2, 6.0, [(100, 3), (1100, 6)]),  # (9 - 1) / 1 = 8
    request(3, 2.0, [(4000, 1)]),  # a single token
    request(4, None, [(100, 1), (5000, 1)]),
]


def step(kind: str, number: int, start: float, end: float, batch: int = 1, alone: float = 0.0) -> Step:
    node = "target0" if kind == "verify" else f"user{number}"
    return Step(
        "wisp", 0, node, "s", "target" if kind == "verify" else "draft", number, 1, kind, ns(start), ns(start), ns(end),
        end - start, 0.0, 0.0, 4, 3, batch, alone,
    )  # fmt: skip


def one_round(
    number: int, index: int, began: float, verify: float, end: float, drafts: int, accepted: int, emitted: int
) -> Round:
    return Round(
        "wisp", 0, "target0", number, index, 4, drafts, drafts, accepted, emitted, ns(began), ns(verify), ns(end)
    )


def asked(number: int, at: float) -> MessageRow:
    return MessageRow("wisp", 0, number, "drafts", f"user{number}", "target0", ns(at - 5), ns(at), 40, 3)


def log(**changes: Any) -> PolicyLog:
    frames: dict[str, pd.DataFrame] = {
        "requests": frame_of("requests", REQUESTS).set_index(KEY),
        "rounds": frame_of("rounds", [
            one_round(0, 0, 10.0, 50.0, 90.0, drafts=5, accepted=1, emitted=2),  # rejected at the 2nd: 3 for nothing
            one_round(0, 1, 90.0, 140.0, 170.0, drafts=4, accepted=4, emitted=5),  # all accepted
            one_round(0, 2, 170.0, 200.0, 230.0, drafts=6, accepted=2, emitted=2),  # cut by the end
            one_round(1, 0, 0.0, 50.0, 90.0, drafts=2, accepted=0, emitted=1),  # 1 for nothing
        ]),
        "steps": frame_of("steps", [
            step("draft", 0, 0, 20), step("draft", 0, 20, 50), step("draft", 1, 0, 40),
            step("verify", 0, 50, 90, batch=2, alone=25.0), step("verify", 1, 50, 90, batch=2, alone=30.0),
            step("verify", 0, 140, 170), step("verify", 0, 200, 230),
        ]),
        "messages": frame_of("messages", [asked(0, 30), asked(0, 45), asked(0, 120), asked(0, 200), asked(1, 48)]),
        **changes,
    }  # fmt: skip
    return PolicyLog("wisp", "wisp", baseline=None, seed=1, **frames)  # type: ignore[arg-type]


def compute(tag: str, of: PolicyLog) -> Any:
    return REGISTRY[tag].compute(of)


def test_a_promise_is_kept_by_the_average_rate_after_the_first_token() -> None:
    assert compute("slo_attainment", log())["value"] == 0.75  # 0, 2 and 3 of four
    by_class = compute("slo_attainment_by_class", log())
    assert compute("slo_attainment_strictest", log())["value"] == 0.5  # of the two that were promised 6
    assert by_class == {"value": [1.0, 1.0, 0.5], "n": [1, 1, 2], "classes": [2.0, 5.0, 6.0]}


def test_a_promise_may_count_from_sending() -> None:
    """0: 11 tokens in 2.5 s, 4.4; 1: the same; 2: 9 in 1.1 s; 3: 1 in 4 s."""
    whole = dataclasses.replace(log(), slo_window="whole")
    assert compute("slo_attainment", whole)["value"] == 0.25
    assert compute("token_goodput", whole)["value"] == pytest.approx(9 / 4)


def test_a_user_and_the_fleet_may_have_on_average_what_a_request_lacks() -> None:
    """One user asks 0 and 1 at 5.5 tokens/s: 20 tokens in 4 s are not enough, with request 2 they are 28 in 5 s."""
    asked = [request(number, 5.5, chunks) for number, chunks in enumerate([
        [(500.0, 1), (1500.0, 4), (2500.0, 6)], [(500.0, 1), (1500.0, 4), (2500.0, 6)], [(100.0, 3), (1100.0, 6)],
    ])]  # fmt: skip
    rows = frame_of("requests", asked).set_index(KEY)
    two = log(requests=rows.assign(node=["user0", "user0", "user1"]))
    assert compute("slo_attainment", two)["value"] == pytest.approx(1 / 3)
    assert compute("slo_attainment_per_user", two)["value"] == 0.5
    assert compute("token_goodput_per_user", two)["value"] == pytest.approx(9 / 2.5)
    one = log(requests=rows.assign(node="user0"))
    assert compute("slo_attainment_per_user", one)["value"] == 1.0
    assert compute("token_goodput_per_user", one)["value"] == pytest.approx(31 / 2.5)
    assert compute("slo_fleet_attainment", one)["value"] == pytest.approx(28 / 5 / 5.5)
    assert compute("tokens_per_s_per_user", one)["value"] == pytest.approx(31 / (2.5 + 2.5 + 1.1))


def test_by_the_chunk_a_promise_is_broken_in_any_gap_that_is_too_long() -> None:
    """0: 4 < 5 tokens, then 6 >= 5; 1: 4 < 6, 6 >= 6; 2: 6 >= 6."""
    assert compute("slo_chunk_attainment", log())["value"] == pytest.approx(3 / 5)


def test_goodput_counts_only_what_kept_its_promise() -> None:
    """Requests 0, 2, 3: 11 + 9 + 1 tokens from 0 to 4 s, the last end of a request with a promise."""
    assert compute("token_goodput", log())["value"] == pytest.approx(21 / 4)
    assert compute("request_goodput", log())["value"] == pytest.approx(3 / 4)


def test_drafting_past_a_rejection_is_counted_in_draft_passes() -> None:
    """Request 0: 3 tokens of 25 ms on average; request 1: 1 of 40 ms; the others drafted nothing."""
    values = REGISTRY["past_rejection_ms"].samples(log())  # type: ignore[attr-defined]
    assert values.tolist() == [75.0, 40.0, 0.0, 0.0, 0.0]


def test_the_wait_for_verification_is_from_the_first_time_a_device_asked() -> None:
    """Request 0: 30 to 50 (it asked again at 45), 120 to 140, 200 to 200; request 1: 48 to 50."""
    values = REGISTRY["verify_wait_ms"].samples(log())  # type: ignore[attr-defined]
    assert sorted(values.tolist()) == [0.0, 2.0, 20.0, 20.0]


def test_interference_is_the_wait_and_what_the_batch_took_longer_than_a_pass_of_its_own() -> None:
    """In the batch of 40 ms: 20 + 40 - 25 and 2 + 40 - 30; alone only the wait."""
    values = REGISTRY["interference_ms"].samples(log())  # type: ignore[attr-defined]
    assert sorted(values.tolist()) == [0.0, 12.0, 20.0, 35.0]


def test_without_promises_or_drafts_nothing_is_claimed() -> None:
    nobody = log(requests=frame_of("requests", REQUESTS[4:]).set_index(KEY))
    before = log(requests=frame_of("requests", REQUESTS).set_index(KEY).drop(columns="slo_tokens_per_s"))
    for of in (nobody, before):
        for tag in ("slo_attainment", "slo_attainment_by_class", "slo_attainment_strictest", "token_goodput",
                    "slo_attainment_per_user", "slo_fleet_attainment", "token_goodput_per_user"):  # fmt: skip
            assert compute(tag, of) is None
    silent = log(messages=frame_of("messages", []))
    assert compute("verify_wait_ms", silent) is None and compute("interference_ms", silent) is None
