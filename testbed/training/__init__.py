"""Train a small target and its drafters from public-domain text, reproducibly, on one CPU core.

Rule: the same options, the same text and the same Python give the same weights, in whatever order drafters are made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from testbed.training.options import Drafter, Shape, Target, TrainingOptions

__all__ = ["Drafter", "Shape", "Target", "TrainingOptions", "train_pair"]


def train_pair(options: TrainingOptions, progress: Callable[[str], None] = print) -> Path:
    """Train the target and every drafter of `options`; return the pair's folder (weights, tokenizers, model card)."""
    from testbed.training.pair import train

    return train(options, progress)
