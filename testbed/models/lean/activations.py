"""Activations by the names that configurations give them, in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715  # of GELU's approximation by a hyperbolic tangent (Hendrycks and Gimpel, 2016)
TABLE_END = 6.0  # the normal distribution is 1 beyond, to fp32's rounding
TABLE_STEPS = 1 << 16  # a straight line between two of them is off by 4e-9 at most, a fifteenth of fp32's rounding


def _silu(x: Array) -> Array:
    below: Array = np.exp(-x)  # infinite for a number far below 0, whose share is then 0 as it should be
    below += 1
    share: Array = x / below
    return share


def _gelu(x: Array) -> Array:
    """By the normal distribution, of which numpy has none: a table for fp32, the C library for what is more exact."""
    share: Array = _exact_normal(x) if x.dtype != np.float32 else _near_normal(x)
    share *= x
    return share


def _near_normal(x: Array) -> Array:
    values, slopes = _normal_table()
    place = np.clip(x, -TABLE_END, TABLE_END)
    place += TABLE_END
    place *= TABLE_STEPS / (2 * TABLE_END)
    index = place.astype(np.intp)
    place -= index
    place *= slopes[index]
    place += values[index]
    return place


@cache
def _normal_table() -> tuple[Array, Array]:
    """The normal distribution at each step, and how much more it is at the next; the last has none."""
    values = _exact_normal(np.linspace(-TABLE_END, TABLE_END, TABLE_STEPS + 1))
    values[0], values[-1] = 0, 1  # what all numbers beyond are given too
    return values.astype(np.float32), np.append(np.diff(values), 0.0).astype(np.float32)


def _exact_normal(x: Array) -> Array:
    return np.array([0.5 * math.erfc(-one / math.sqrt(2)) for one in x.ravel().tolist()]).reshape(x.shape)


def _gelu_tanh(x: Array) -> Array:
    inner = x * x
    inner *= CUBIC
    inner += 1
    inner *= x
    inner *= ROOT_2_OVER_PI
    np.tanh(inner, out=inner)
    inner += 1
    inner *= 0.5
    inner *= x
    return inner


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "gelu_python": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "relu": _relu,
}
