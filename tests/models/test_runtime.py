"""The cached runtime equals one uncached pass over the same tokens, whatever was fed and rewound before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from testbed.models.runtime import CausalRuntime


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
