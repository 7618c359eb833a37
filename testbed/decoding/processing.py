"""Logits to probabilities: temperature, then top-k, then top-p, in double precision; and what is read off a row.

Everything is decided on one row at a time, so the result cannot depend on what else was in the batch.
"""

from __future__ import annotations

import numpy as np

from testbed.decoding.sampling import Sampling


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - np.float64(logits.max()))
    return np.asarray(weights / weights.sum())


def probabilities(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The distribution that `sampling` asks for. Greedy is the one-hot row of the first largest logit."""
    if sampling.greedy:
        row = np.zeros(len(logits))
        row[int(logits.argmax())] = 1.0
        return row
    row = softmax(logits.astype(np.float64) / sampling.temperature)
    if sampling.top_k > 0:
        row = keep_largest(row, sampling.top_k)
    if sampling.top_p < 1.0:
        row = _keep_nucleus(row, sampling.top_p)
    return row


def keep_largest(row: np.ndarray, count: int) -> np.ndarray:
    """Exactly `count` entries survive (ties go to the lower token id), renormalised."""
    if count >= len(row):
        return row
    return _keep(row, np.argsort(-row, kind="stable")[:count])


def draw(weights: np.ndarray, uniform: float) -> int:
    """Inverse of the cumulative sum at `uniform` in [0, 1). Weights need not sum to 1; a weight of 0 is never drawn.

    Works on double rows and on object rows of exact fractions alike.
    """
    cumulative = np.cumsum(weights)
    index = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    if index == len(weights):  # rounding pushed uniform * total up to the total
        index = int(np.flatnonzero(weights)[-1])
    return index


def entropy_nats(logits: np.ndarray) -> float:
    """Entropy of the unprocessed (temperature 1) distribution."""
    return _entropy(softmax(logits))


def sureness(logits: np.ndarray) -> tuple[float, float]:
    """Entropy (nats) and largest probability of the unprocessed (temperature 1) distribution."""
    row = softmax(logits)
    return _entropy(row), float(row.max())


def margin(logits: np.ndarray) -> float:
    """The largest minus the second largest probability of the unprocessed (temperature 1) distribution."""
    second, best = np.partition(softmax(logits), -2)[-2:]
    return float(best - second)


def logit_variance(logits: np.ndarray) -> float:
    """Variance of the unprocessed logits over the vocabulary."""
    return float(logits.astype(np.float64).var())


def _entropy(row: np.ndarray) -> float:
    positive = row[row > 0.0]
    return float(max(0.0, -(positive * np.log(positive)).sum()))


def _keep_nucleus(row: np.ndarray, mass: float) -> np.ndarray:
    """The shortest run of most probable tokens whose probabilities reach `mass`, renormalised."""
    order = np.argsort(-row, kind="stable")
    needed = int(np.searchsorted(np.cumsum(row[order]), mass, side="left")) + 1
    return _keep(row, order[:needed])


def _keep(row: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(row)
    kept[tokens] = row[tokens]
    return np.asarray(kept / kept.sum())
