"""The figures of passes: every kind of pass of both models, and the lean path is worth having."""

from __future__ import annotations

import pytest

from testbed.bench import passes
from testbed.bench.measurement import Measurement


@pytest.fixture(scope="module")
def figures() -> dict[str, Measurement]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "TRIALS", 7)
        return {one.name: one for one in passes.passes_figures()}


@pytest.mark.slow
def test_every_kind_of_pass_is_timed_in_turns(figures: dict[str, Measurement]) -> None:
    for model in passes.MODELS:
        kinds = {name.removeprefix(f"{model}, ") for name in figures if name.startswith(f"{model}, ")}
        assert {"1 token(s)", "tree of 8", "batch of 16 x 5", "prefill of 64"} < kinds
    for one in figures.values():
        assert 0 < one.low <= one.value <= one.high
        assert "transformers" in one.compared_with


@pytest.mark.slow
@pytest.mark.parametrize("model", passes.MODELS)
@pytest.mark.parametrize("kind", ["1 token(s)", "4 token(s)", "tree of 8"])
def test_small_passes_take_less_time_than_those_of_transformers(
    figures: dict[str, Measurement], model: str, kind: str
) -> None:
    """By a ratio within one run, since the machine may be busy: measured 2 to 10."""
    ratio = float(figures[f"{model}, {kind}"].compared_with.rsplit(", ", 1)[-1].split(" ")[0])
    assert ratio > 1.2
