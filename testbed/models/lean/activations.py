"""Activations by the names that configurations give them. Those that numpy lacks, or does slowly, are torch's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

Array = np.ndarray[Any, np.dtype[Any]]


def _by_torch(function: Callable[..., torch.Tensor], x: Array, **settings: Any) -> Array:
    return np.asarray(function(torch.from_numpy(x), **settings).numpy())


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


_silu = partial(_by_torch, functional.silu)
_gelu = partial(_by_torch, functional.gelu)
_gelu_tanh = partial(_by_torch, functional.gelu, approximate="tanh")

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
