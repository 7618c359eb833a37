"""Assertions of `testbed run --assert`: what is read, what is refused in one line, and what a summary makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.results.assertions import Entry, failed, judge, parse, parse_all, sentence

POLICIES = [
    Entry("autoregressive", "autoregressive"),
    Entry("speculative", "speculative"),
    Entry("mine 0.5", "wanspec"),
]


def summary(valid: bool = True, **of_mine: Any) -> dict[str, Any]:
    tpot = {"median": 20.0, "ci95": [18.0, 22.0], "p95": 30.0, "n": 10}
    ratio = {"median": 1.0, "ci95": [1.0, 1.0], "p95": 1.0, "n": 10}
    policies = {one.label: {"tpot_ms": tpot, "latency_ratio": ratio, "acceptance_rate": None} for one in POLICIES}
    policies["mine 0.5"].update(of_mine)
    return {"validity": {"valid": valid}, "policies": policies}


def holds(text: str, **of_mine: Any) -> list[bool | None]:
    return [one.holds for one in judge(parse_all([text], POLICIES), summary(**of_mine), POLICIES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"mine 0.5".tpot_ms < 21', True),
        ('"mine 0.5".tpot_ms < 20', False),
        ('"mine 0.5".tpot_ms <= 20', True),
        ('"mine 0.5".tpot_ms>19', True),
        ('"mine 0.5".tpot_ms >= 20.5', False),
        ('"mine 0.5".tpot_ms < 21 (95 %)', False),  # the interval reaches 22
        ('"mine 0.5".tpot_ms < 22.5 (95%)', True),
        ('"mine 0.5".tpot_ms > 17 (95 %)', True),
        ('"mine 0.5".tpot_ms > 18.5 (95 %)', False),
        ('"mine 0.5".tpot_ms.p95 <= 3e1', True),
        ('"mine 0.5".tpot_ms.median < 2.1e1', True),
    ],
)
def test_a_limit(text: str, expected: bool) -> None:
    assert holds(text) == [expected]


def test_without_a_label_it_is_asked_of_every_policy_that_has_the_metric() -> None:
    assert holds("tpot_ms < 21") == [True, True, True]
    assert holds("acceptance_rate > 0.3", acceptance_rate={"value": 0.4, "ci95": None}) == [True]


def test_what_no_policy_has_fails() -> None:
    assert holds("acceptance_rate > 0.3") == [False]
    assert holds("speculative.acceptance_rate > 0.3") == [False]


def test_a_comparison_with_speculation_is_not_asked_of_that_nor_of_decoding_without_drafts() -> None:
    ratio = {"median": 0.9, "ci95": [0.8, 0.97], "p95": 1.2, "n": 10}
    (found,) = judge(parse_all(["latency_ratio < 1.0 (95 %)"], POLICIES), summary(latency_ratio=ratio), POLICIES)
    assert (found.policy, found.holds) == ("mine 0.5", True)
    assert sentence(found) == "holds: latency_ratio < 1.0 (95 %)   mine 0.5: 0.9 [0.8, 0.97]"
    assert holds("speculative.latency_ratio <= 1 (95 %)") == [True]


def test_without_an_interval_nothing_is_shown_about_it() -> None:
    ratio = {"median": 0.5, "ci95": None, "p95": 0.6, "n": 3}
    (found,) = judge(parse_all(["latency_ratio < 1 (95 %)"], POLICIES), summary(latency_ratio=ratio), POLICIES)
    assert found.holds is False and "too few prompts" in found.found
    assert holds("latency_ratio < 1", latency_ratio=ratio) == [True]


def test_a_run_that_is_not_valid_shows_nothing() -> None:
    found = judge(parse_all(["tpot_ms < 21", "tpot_ms > 21"], POLICIES), summary(valid=False), POLICIES)
    assert {one.holds for one in found} == {None} and failed(found) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tpot < 3", "no metric 'tpot'; did you mean 'tpot_ms'?"),
        ("tpot_ms = 3", "no <, <=, > or >="),
        ("tpot_ms < fast", "no number after the operator"),
        ("tpot_ms < 3 ms", "'3 ms' is not a number"),
        ("tpot_ms < 3.1.2", "'3.1.2' is not a number"),
        ("tpot_ms < 3 (90 %)", "write (95 %)"),
        ("tpot_ms.p95 < 3 (95 %)", "p95 has no interval"),
        ("acceptance_rate.p95 < 3", "has no p95"),
        ("acceptance_by_position > 0.2", "is a list"),
        ("mine 0.5.tpot_ms < 3", "cannot read what stands before the operator"),
        ("", "no <, <=, > or >="),
        ("wisp.tpot_ms < 3", "no policy 'wisp'"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_all([text], POLICIES)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_comparison_without_its_baseline_is_refused_before_the_run() -> None:
    with pytest.raises(BadInput, match="compares with the policy speculative"):
        parse_all(["latency_ratio < 1"], POLICIES[::2])
    with pytest.raises(BadInput, match="write the label"):
        parse_all(["latency_ratio < 1"], POLICIES[:2])


def test_any_text_is_read_or_refused_in_one_line() -> None:
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

    @hypothesis.given(hypothesis.strategies.text(alphabet='abt_ms.<>=()95 %"+-e\n\x00é', max_size=40))
    @hypothesis.settings(deadline=None, max_examples=300, derandomize=True, database=None)
    def read(text: str) -> None:
        try:
            assert parse(text).metric == "tpot_ms"
        except BadInput as refused:
            assert "\n" not in str(refused)

    read()
