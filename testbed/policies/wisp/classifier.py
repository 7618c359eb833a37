"""A trained rejection predictor at run time: a small network or a logistic regression over a token's features.

Rule kept: weights say where they come from, and the same weights and features give the same answer. Needs numpy alone;
`testbed models train-controller` makes the weights.
"""

from __future__ import annotations

import hashlib
import math
from importlib import resources
from typing import Any, Literal

import msgspec
import numpy as np

from testbed.errors import BadInput
from testbed.files.reading import decode_json, one_line, read_bytes, shown
from testbed.policies.wisp.features import NAMES, Features

SHIPPED = "testbed.training.controllers"
SUFFIX = ".json"
FORMAT = 1
MOST_ANSWERS = 100_000  # kept, 20 MB; a table of 100 prompts and 100 tokens each has some 50,000

Array = np.ndarray[Any, np.dtype[np.float64]]


class Layer(msgspec.Struct, frozen=True):
    """`weights[out][in]` and one bias an output."""

    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]


class Origin(msgspec.Struct, frozen=True):
    """What a classifier was trained on, and what it reached on prompts held back."""

    target: str
    draft: str
    table: str
    table_sha256: str
    prompts: str
    seed: int
    train_tokens: int
    test_tokens: int
    false_accept_rate: float
    recall: float
    auc: float


class Weights(msgspec.Struct, frozen=True):
    """A file of weights. Features are standardised by `mean` and `scale`; a ReLU stands between layers."""

    format: int
    kind: Literal["mlp", "logistic"]
    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    layers: tuple[Layer, ...]
    threshold: float  # a token with less than this probability of being accepted is predicted rejected
    origin: Origin


class Classifier:
    """Probability that the target accepts a token, given that it accepted those before it.

    Answers are kept, since a fleet in simulation meets the same tokens again and again.
    """

    def __init__(self, weights: Weights) -> None:
        self.threshold = weights.threshold
        self._answers: dict[Features, float] = {}
        self._layers: list[tuple[Array, Array]] = [
            (np.asarray(layer.weights, dtype=np.float64), np.asarray(layer.biases, dtype=np.float64))
            for layer in weights.layers
        ]
        first, bias = self._layers[0]
        scale = np.asarray(weights.scale, dtype=np.float64)
        # standardising is linear, so the first layer can do it
        self._layers[0] = first / scale, bias - first @ (np.asarray(weights.mean, dtype=np.float64) / scale)

    def probability(self, features: Features) -> float:
        known = self._answers.get(features)
        if known is None:
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            known = self._answers[features] = self._computed(features)
        return known

    def _computed(self, features: Features) -> float:
        value = np.asarray(features, dtype=np.float64)
        for weights, biases in self._layers[:-1]:
            value = np.maximum(weights @ value + biases, 0.0)
        weights, biases = self._layers[-1]
        return sigmoid(float(weights[0] @ value + biases[0]))


def sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    grown = math.exp(value)
    return grown / (1.0 + grown)


def read_weights(name_or_path: str) -> tuple[Weights, str]:
    """Weights that ship by name, others by path to their .json; with the SHA-256 of the file. Raises BadInput."""
    if name_or_path.endswith(SUFFIX):
        raw = read_bytes(name_or_path, missing="make one with `testbed models train-controller`")
    else:
        shipped = {file.name.removesuffix(SUFFIX): file for file in resources.files(SHIPPED).iterdir()}
        known = sorted(name for name, file in shipped.items() if file.name.endswith(SUFFIX))
        if name_or_path not in known:
            raise BadInput(
                f"controller {shown(name_or_path)!r} does not ship; known: {', '.join(known)}, or a path to a .json"
            )
        raw = read_bytes(str(shipped[name_or_path]))
    return decode(raw, name_or_path), hashlib.sha256(raw).hexdigest()


def decode(raw: bytes, what: str) -> Weights:
    """Raises BadInput for what is not a file of weights, or none whose shapes fit together."""
    fix = "train it again with `testbed models train-controller`"
    weights = decode_json(raw, what, Weights, "a file of weights", fix)
    what = shown(what)
    if weights.format != FORMAT:
        raise BadInput(f"controller {what}: format {weights.format}, this version reads {FORMAT}; {fix}")
    if weights.features != NAMES:
        raise BadInput(f"controller {what}: has features {one_line(weights.features)}, not {NAMES}; {fix}")
    wide = len(NAMES)
    fits = len(weights.mean) == len(weights.scale) == wide and all(scale > 0 for scale in weights.scale)
    for layer in weights.layers:
        fits = fits and len(layer.weights) == len(layer.biases) and all(len(row) == wide for row in layer.weights)
        wide = len(layer.biases)
    if not fits or wide != 1 or not weights.layers:
        raise BadInput(f"controller {what}: its layers do not fit together; {fix}")
    return weights
