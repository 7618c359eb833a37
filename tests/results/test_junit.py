"""The JUnit file: what passed, what failed, what could not be judged; readable as XML whatever the texts hold."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from testbed.results.assertions import Judgement
from testbed.results.junit import Case, cases, document, unfinished


def summary(valid: bool = True, equal: int = 4) -> dict[str, Any]:
    validity = {"valid": valid, "reasons": [] if valid else ["links: late"], "advice": [] if valid else ["wait"]}
    return {"validity": validity, "lossless": {"checked": 4, "equal": equal}}


def suite(text: str) -> ElementTree.Element:
    found = ElementTree.fromstring(text).find("testsuite")
    assert found is not None
    return found


def outcomes(text: str) -> dict[str, str]:
    return {str(one.get("name")): (one[0].tag if len(one) else "passed") for one in suite(text).iter("testcase")}


def test_a_valid_run_whose_assertion_fails() -> None:
    judged = [Judgement("a < 1", "mine", "a", True, "0.5"), Judgement("b < 1", "mine", "b", False, "2 [1, 3]")]
    text = document("quick", cases(summary(), judged, 2.5), [], {"engine": "emulation"})
    assert outcomes(text) == {
        "valid": "passed", "lossless": "passed", "mine: a < 1": "passed", "mine: b < 1": "failure",
    }  # fmt: skip
    found = suite(text)
    assert {key: found.get(key) for key in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "quick", "tests": "4", "failures": "1", "errors": "0", "skipped": "0", "time": "2.500",
    }  # fmt: skip
    assert [one.attrib for one in found.iter("property")] == [{"name": "engine", "value": "emulation"}]


def test_a_run_that_is_not_valid_is_an_error_and_its_assertions_are_skipped() -> None:
    text = document("q", cases(summary(valid=False), [Judgement("a < 1", "m", "a", None, "0.5")], 1.0), ["first"], {})
    assert outcomes(text) == {"valid": "error", "lossless": "passed", "m: a < 1": "skipped"}
    assert suite(text).findtext("system-out") == "attempt 1 was not valid: first"


def test_outputs_that_differ_fail() -> None:
    assert outcomes(document("q", cases(summary(equal=3), [], 1.0), [], {}))["lossless"] == "failure"


def test_a_run_that_did_not_finish() -> None:
    text = document("q", unfinished(RuntimeError("no TUN"), ["a < 1"], 0.1), [], {})
    assert outcomes(text) == {"valid": "error", "a < 1": "skipped"}


@pytest.mark.parametrize("said", ["<&>\"'", "a\x00b\x1b[31m", "\ud800", "two\nlines", ""])
def test_any_text_gives_a_file_that_can_be_read(said: str) -> None:
    text = document(said, [Case(said, "failure", said)], [said], {said: said})
    assert len(suite(text.encode("utf-8").decode("utf-8"))) == 3
