"""The cached runtime equals one uncached pass over the same tokens, whatever was fed and rewound before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from testbed.errors import BadInput, RunInvalid
from testbed.models.batch import BatchRuntime
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.fit import Fit
from testbed.models.guard import Guard, NotNumbers, guard_of
from testbed.models.lean.kinds import decoder_of
from testbed.models.lean.runtime import LeanRuntime
from testbed.models.runtime import CausalRuntime, arrived


def assert_same(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


def test_a_rewound_cache_equals_an_uncached_pass(family: Any, full_logits: Any, sequence: list[int]) -> None:
    model = family(0)
    runtime = CausalRuntime(model)
    runtime.forward(7, 0, [*sequence[:20], 5, 6, 7])
    again = runtime.forward(7, 20, sequence[20:30], last=10)
    assert_same(again, full_logits(model, sequence[:30])[20:])
    assert runtime.length(7) == 30


def test_many_rewinds_leave_no_trace(family: Any, full_logits: Any, sequence: list[int]) -> None:
    model = family(0)
    runtime = CausalRuntime(model)
    runtime.forward(0, 0, sequence[:4])
    for position in range(4, 36):
        runtime.forward(0, position, [9, 9, 9, 9])  # a rejected draft, forgotten by the next call
        step = runtime.forward(0, position, [sequence[position]])
        assert_same(step[0], full_logits(model, sequence[: position + 1])[-1])


def test_verifying_tokens_together_equals_one_by_one(family: Any, sequence: list[int]) -> None:
    model = family(0)
    together, apart = CausalRuntime(model), CausalRuntime(model)
    together.forward(0, 0, sequence[:10])
    apart.forward(0, 0, sequence[:10])
    rows = together.forward(0, 10, sequence[10:18], last=8)
    for index in range(8):
        assert_same(apart.forward(0, 10 + index, [sequence[10 + index]])[0], rows[index])


def test_a_position_shift_would_be_noticed(families: dict[str, Any], full_logits: Any, sequence: list[int]) -> None:
    """Guards the tests above: the absolute-position model really depends on positions, the rotary one does not."""
    shifted = torch.arange(1, 11)[None]
    moved = {}
    for name, build in families.items():
        model = build(0)
        with torch.inference_mode():
            logits = model(torch.tensor([sequence[:10]]), position_ids=shifted, use_cache=False).logits[0]
        moved[name] = float((logits - full_logits(model, sequence[:10])).abs().max())
    assert moved["llama"] < 1e-6 < 1e-2 < moved["gpt2"]


def test_requests_do_not_see_each_other(family: Any, full_logits: Any, sequence: list[int]) -> None:
    model = family(0)
    runtime = CausalRuntime(model)
    runtime.forward(1, 0, sequence[:10])
    runtime.forward(2, 0, sequence[20:25])
    assert_same(runtime.forward(1, 10, sequence[10:12])[0], full_logits(model, sequence[:12])[-1])
    runtime.release(1)
    assert (runtime.length(1), runtime.length(2)) == (0, 5)


def test_rewinding_to_the_beginning_starts_afresh(family: Any, full_logits: Any, sequence: list[int]) -> None:
    model = family(0)
    runtime = CausalRuntime(model)
    runtime.forward(0, 0, sequence[:10])
    assert_same(runtime.forward(0, 0, sequence[10:20], last=10), full_logits(model, sequence[10:20]))


@pytest.mark.parametrize("position", [-1, 6])
def test_a_position_outside_the_cache_is_refused(family: Any, sequence: list[int], position: int) -> None:
    runtime = CausalRuntime(family(0))
    runtime.forward(0, 0, sequence[:5])
    with pytest.raises(ValueError, match="beyond the 5 cached tokens"):
        runtime.forward(0, position, [1])
    assert runtime.length(0) == 5


@pytest.mark.parametrize("last", [0, 4])
def test_logits_of_unfed_tokens_are_refused(family: Any, last: int) -> None:
    with pytest.raises(ValueError, match="of 3 fed tokens"):
        CausalRuntime(family(0)).forward(0, 0, [1, 2, 3], last=last)


def test_half_precision_logits_come_back_in_fp32(family: Any) -> None:
    logits = CausalRuntime(family(0).to(torch.bfloat16)).forward(0, 0, [1, 2, 3], last=2)
    assert logits.dtype == torch.float32 and logits.shape == (2, 61)


PASSES = {
    "single": lambda runtime: runtime.forward(0, 0, [1, 2, 3]),
    "tree": lambda runtime: runtime.forward_tree(TreeFeed(0, 0, [1, 2], [3, 4], [-1, -1], [0, 1])),
    "batch": lambda runtime: runtime.forward_batch([BatchFeed(0, 0, [1, 2]), BatchFeed(1, 0, [3])]),
}


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_end_the_run_by_the_models_name(family: Any, kind: str, value: float) -> None:
    """Invariant 1: argmax of NaN is a token like any other, and both sides of a comparison would choose it."""
    model = family(0)
    model.name_or_path = "m/damaged"
    with torch.no_grad():
        model.get_output_embeddings().weight[7, 3] = value
    for runtime in (BatchRuntime(model), LeanRuntime(decoder_of(model), guard_of(model))):
        with pytest.raises(NotNumbers, match="model m/damaged returned logits that are not finite"):
            PASSES[kind](runtime)


def test_large_logits_are_numbers() -> None:
    """Their sum overflows; none of them does."""
    logits = torch.full((2, 61), 3e38)
    assert torch.equal(arrived(logits, Guard("m")), logits)
    Guard("m").numbers(logits.numpy())


def runtimes(model: Any, fit: Fit) -> list[Any]:
    guard = guard_of(model, fit)
    return [BatchRuntime(model, guard), LeanRuntime(decoder_of(model), guard)]


def test_a_token_without_a_row_and_a_text_without_positions_are_named(family: Any) -> None:
    for runtime in runtimes(family(0), Fit(sizes="vocab_size 70 and 61")):
        with pytest.raises(RunInvalid, match=r"token 65 .* only 61 rows \(vocab_size 70 and 61\)"):
            runtime.forward(0, 0, [1, 65])
        with pytest.raises(RunInvalid, match=r"token 61 "):
            runtime.forward_tree(TreeFeed(0, 0, [1], [61], [-1], [0]))
        with pytest.raises(RunInvalid, match="room for 256 tokens, but a pass reached 257"):
            runtime.forward_batch([BatchFeed(0, 0, [1] * 257)])


@pytest.mark.parametrize("kind", ["tree", "batch"])
def test_a_kind_of_pass_that_was_found_wrong_is_refused_and_no_other(family: Any, kind: str) -> None:
    for runtime in runtimes(family(0), Fit(refused={kind: "model m is not right in it"})):
        with pytest.raises(BadInput, match="model m is not right in it"):
            PASSES[kind](runtime)
        for other in set(PASSES) - {kind}:
            PASSES[other](runtime)
