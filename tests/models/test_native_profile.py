"""Native timings become a device profile that experiments can name; on a GPU too, where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.models.batch import BatchRuntime
from testbed.models.devices import load_profile
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.load import load_model
from testbed.models.nativeprofile import counts, measure, quantiles, write
from testbed.models.placement import prepare


def gpu_is_missing() -> str:
    try:
        prepare("cuda")
    except MachineCannot as error:
        return str(error)
    return ""


def test_a_profile_reads_back_as_it_was_measured(tmp_path):
    profile = measure("tiny-draft", max_pass_tokens=5, note=lambda text: None)
    path = tmp_path / "here.yaml"
    write(profile, path)
    again = load_profile(str(path))
    assert again.pass_ms == profile.pass_ms
    assert [tokens for tokens, _ in again.pass_ms] == [1, 2, 4, 5]
    assert again.kind == "measured" and not again.native
    assert "passes by lean" in again.note  # those that a node takes
    assert again.duration_ms(3) > 0


def test_a_profile_can_have_the_spread_of_what_was_measured(tmp_path):
    path = tmp_path / "here.yaml"
    write(measure("tiny-draft", max_pass_tokens=2, note=lambda text: None, varies=True), path)
    varies = load_profile(str(path)).varies
    assert varies is not None and varies.source.startswith("testbed models profile: 400 passes")
    assert varies.factor(0.0) <= 1.0 <= varies.factor(0.99)


def test_quantiles_are_those_of_the_sample():
    kept = dict(quantiles([*range(1, 102)]))
    assert kept == {0.0: 1, 0.05: 6, 0.25: 26, 0.5: 51, 0.75: 76, 0.95: 96, 0.99: 100, 1.0: 101}


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (8, [1, 2, 4, 8]), (6, [1, 2, 4, 6])])
def test_counts_reach_from_one_token_to_the_longest_pass(most, expected):
    assert counts(most) == expected


def test_a_pass_longer_than_the_models_positions_is_refused():
    with pytest.raises(BadInput, match="positions"):
        measure("tiny-draft", max_pass_tokens=10**6, note=lambda text: None)


@pytest.mark.skipif(not gpu_is_missing(), reason="there is a GPU")
def test_a_missing_gpu_is_said_in_one_line():
    with pytest.raises(MachineCannot, match=r"^accelerator cuda: ") as raised:
        prepare("cuda")
    assert "\n" not in str(raised.value)


def alone(runtime: BatchRuntime) -> list[Any]:
    return [runtime.forward(0, 0, list(range(2, 40)), last=38)]


def tree(runtime: BatchRuntime) -> list[Any]:
    runtime.forward(0, 0, list(range(2, 40)))
    return [runtime.forward_tree(TreeFeed(0, 38, [3, 4], [5, 6, 7], [-1, -1, 0], [-1, 0, 1, 2]))]


def together(runtime: BatchRuntime) -> list[Any]:
    """Ragged, then some of the rows, so that they are gathered."""
    first = runtime.forward_batch([BatchFeed(request, 0, list(range(2, 9 + request)), 3) for request in range(4)])
    return [*first, *runtime.forward_batch([BatchFeed(2, 9, [5, 6], 2), BatchFeed(0, 7, [7])])]


@pytest.mark.gpu
@pytest.mark.skipif(bool(gpu_is_missing()), reason=gpu_is_missing() or "-")
@pytest.mark.parametrize("work", [alone, tree, together])
def test_a_gpu_gives_the_logits_of_the_processor(work):
    """fp32 without TF32: the same up to rounding, so greedy tokens are those of the reference."""
    both = []
    for device in ("cpu", "cuda"):
        prepare(device, None if device == "cpu" else 0.5)
        both.append(work(BatchRuntime(load_model("tiny-target", device=device).model)))
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
        assert (ours.argmax(-1) == theirs.argmax(-1)).all()


@pytest.mark.gpu
@pytest.mark.skipif(bool(gpu_is_missing()), reason=gpu_is_missing() or "-")
def test_a_gpu_can_be_profiled():
    profile = measure("tiny-draft", "cuda", max_pass_tokens=4, note=lambda text: None)
    assert "cuda" not in profile.device and profile.duration_ms(1) > 0
