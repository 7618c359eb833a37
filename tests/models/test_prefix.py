"""A request that begins with what is cached of another one computes what it would have computed from its own text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testbed.models.batch import BatchRuntime
from testbed.models.compute import Compute
from testbed.models.feeds import BatchFeed
from testbed.models.lean.kinds import decoder_of
from testbed.models.lean.runtime import LeanRuntime
from testbed.models.load import load_model
from testbed.models.lookup import LookupRuntime
from testbed.models.runtime import CausalRuntime
from testbed.policies.api import Draft, Verify, VerifyBatch

TEXT = [5, 17, 101, 44, 9, 300, 12, 77, 8, 45, 23, 61]


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("tiny-draft").model


@pytest.fixture(params=["lean", "batch", "causal", "lookup"])
def runtime(request: pytest.FixtureRequest, model: Any) -> Any:
    if request.param == "lookup":
        return LookupRuntime(512)
    if request.param == "lean":
        return LeanRuntime(decoder_of(model))
    return BatchRuntime(model) if request.param == "batch" else CausalRuntime(model)


def logits(rows: Any) -> Any:
    return np.asarray(rows)


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(logits(ours), logits(theirs), rtol=0, atol=1e-4 * float(np.abs(logits(theirs)).max()))


def test_logits_are_those_of_the_whole_text(runtime: Any) -> None:
    runtime.forward(1, 0, TEXT)
    runtime.begin(2, 1, 7)
    same(runtime.forward(2, 7, TEXT[7:], 3), runtime.forward(3, 0, TEXT, 3))


def test_neither_request_changes_the_other(runtime: Any) -> None:
    runtime.forward(1, 0, TEXT)
    runtime.begin(2, 1, 7)
    runtime.forward(2, 7, [1, 2, 3])
    same(runtime.forward(1, 9, TEXT[9:]), runtime.forward(3, 0, TEXT))
    runtime.release(1)
    same(runtime.forward(2, 7, TEXT[7:]), runtime.forward(3, 0, TEXT))


def test_a_request_that_held_something_begins_anew(runtime: Any) -> None:
    runtime.forward(1, 0, TEXT)
    runtime.forward(2, 0, [9, 9, 9])
    runtime.begin(2, 1, 12)
    same(runtime.forward(2, 11, TEXT[11:]), runtime.forward(3, 0, TEXT))


def test_batched_requests_are_begun_with_and_begin_with_others(runtime: Any) -> None:
    if isinstance(runtime, CausalRuntime) and not isinstance(runtime, BatchRuntime):
        pytest.skip("it feeds one request a pass")
    runtime.forward_batch([BatchFeed(1, 0, TEXT, 1), BatchFeed(5, 0, [3, 4], 1)])
    runtime.begin(2, 1, 7)
    ours = runtime.forward_batch([BatchFeed(2, 7, TEXT[7:], 2), BatchFeed(5, 2, [6], 1)])
    same(ours[0], runtime.forward(3, 0, TEXT, 2))


def test_more_than_is_cached_is_refused(model: Any) -> None:
    for runtime in (LeanRuntime(decoder_of(model)), BatchRuntime(model)):
        runtime.forward(1, 0, TEXT)
        with pytest.raises(ValueError, match="12 tokens cached, not 13"):
            runtime.begin(2, 1, 13)


def test_jobs_say_whose_cache_they_begin_with(model: Any) -> None:
    compute = Compute(
        {"target": LeanRuntime(decoder_of(model)), "draft": LeanRuntime(decoder_of(model))},
        {"target": lambda count: [count], "draft": lambda count: [count]},
    )
    whole, _ = compute.verify(Verify(0, 1, 0, tuple(TEXT), 0))
    compute.draft(Draft(1, 1, 0, tuple(TEXT), 2))
    again, real = compute.verify(Verify(2, 2, 8, tuple(TEXT[8:]), 0, prefix_of=1))
    assert again.tokens == whole.tokens
    assert [(one.position, one.tokens) for one in real] == [(8, 4)]
    batch, _ = compute.verify_batch(VerifyBatch(3, (Verify(3, 3, 8, tuple(TEXT[8:]), 0, prefix_of=1),)))
    assert batch.members[0].tokens == whole.tokens
    drafted, _ = compute.draft(Draft(4, 2, 8, tuple(TEXT[8:]), 2, prefix_of=1))
    fresh, _ = compute.draft(Draft(5, 4, 0, tuple(TEXT), 2))
    assert drafted.tokens == fresh.tokens
