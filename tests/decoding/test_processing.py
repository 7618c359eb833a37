"""Temperature, top-k and top-p on one row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.decoding.processing import draw, probabilities
from testbed.decoding.sampling import Sampling

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1]))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0), [0.5, 0.25, 0.15, 0.1]),
        (Sampling(temperature=0.5), [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
        (Sampling(temperature=1.0, top_k=2), [2 / 3, 1 / 3, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.7), [2 / 3, 1 / 3, 0, 0]),  # the token that reaches the mass stays
        (Sampling(temperature=1.0, top_p=0.76), [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        (Sampling(temperature=1.0, top_k=3, top_p=0.56), [2 / 3, 1 / 3, 0, 0]),  # top-p of what top-k left
        (Sampling(temperature=0.0), [1, 0, 0, 0]),
    ],
)
def test_processing_in_the_usual_order(sampling: Sampling, expected: list[float]) -> None:
    assert probabilities(LOGITS, sampling) == pytest.approx(expected)


def test_ties_go_to_the_lower_token_and_never_widen_top_k() -> None:
    assert probabilities(np.zeros(4), Sampling(temperature=1.0, top_k=2)).tolist() == [0.5, 0.5, 0, 0]
    assert probabilities(np.zeros(4), Sampling()).tolist() == [1, 0, 0, 0]


@given(
    weights=st.lists(st.sampled_from([0.0, 1e-300, 0.1, 0.3, 1.0]), min_size=1, max_size=8).filter(any),
    uniform=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_weight_of_zero_is_never_drawn(weights: list[float], uniform: float) -> None:
    assert weights[draw(np.array(weights), uniform)] > 0.0
