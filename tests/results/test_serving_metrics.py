"""Where requests were served and what of their prompts was cached, by hand on a log of a few passes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from testbed.results.metrics import REGISTRY
from testbed.results.metrics.base import KEY, PolicyLog

Pass = tuple[int, int, int, int]  # request, target, start, cached tokens before it


def log(passes: list[Pass]) -> PolicyLog:
    steps = pd.DataFrame(
        [{"repeat": 0, "request": request, "node": f"target{target}", "site": f"site{target}", "kind": "verify",
          "model": "target", "started_ns": start, "position": position}
         for request, target, start, position in passes]
    )  # fmt: skip
    requests = pd.DataFrame(
        [{"repeat": 0, "request": one, "prompt_tokens": 100, "prompt_id": f"p{one}"}
         for one in sorted({one for one, *_ in passes})]
    ).set_index(KEY)  # fmt: skip
    empty = pd.DataFrame()
    return PolicyLog("p", "p", requests, rounds=empty, steps=steps, messages=empty, baseline=None, seed=1)


def found(tag: str, passes: list[Pass]) -> Any:
    return REGISTRY[tag].compute(log(passes))


def test_cached_tokens_are_those_before_the_first_pass_of_a_request() -> None:
    passes = [(1, 0, 5, 0), (1, 0, 9, 100), (2, 0, 30, 110), (2, 0, 20, 64), (3, 0, 40, 32)]
    assert found("cached_prompt_tokens", passes)["median"] == 32
    assert found("cached_prompt_share", passes)["value"] == (64 + 32) / 300


def test_where_nothing_was_cached_there_is_no_figure() -> None:
    passes = [(1, 0, 5, 0), (1, 0, 9, 100)]
    assert found("cached_prompt_tokens", passes) is None
    assert found("cached_prompt_share", passes) is None


def test_requests_are_counted_where_they_began() -> None:
    passes = [(1, 0, 5, 0), (2, 10, 6, 0), (2, 0, 9, 0), (3, 2, 7, 0), (4, 2, 8, 0)]
    counted = found("requests_by_target", passes)
    assert counted["classes"] == ["target0 site0", "target2 site2", "target10 site10"]
    assert counted["n"] == [1, 2, 1]
    assert counted["value"] == [0.25, 0.5, 0.25]


def test_one_target_needs_no_count() -> None:
    assert found("requests_by_target", [(1, 0, 5, 0)]) is None
