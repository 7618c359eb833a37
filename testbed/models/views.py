"""What a layer's queries may see beyond "all that came before": sliding windows, chunks, and models that mask by place.

A transformers model makes its own masks in a plain pass. Passes over trees and batches bring their own masks, and
these must hold what the model's would: one mask where all layers look alike, else one a kind of layer, as models with
several kinds take them. Whether a model heeds them is not decided here but tried (`testbed.models.selftest`).

Rule: distances are between positions, never between places in a cache or a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FULL = "full_attention"
SLIDING = "sliding_attention"
CHUNKED = "chunked_attention"


@dataclass(frozen=True)
class Views:
    """Of one model; sizes in tokens, None where there is no such limit."""

    kinds: tuple[str, ...]  # of layers; empty: all are of one kind, and the model takes one mask
    window: int | None
    chunk: int | None
    own: int | None  # a window that the model lays over every mask by place in the pass: right in plain passes only
    turns: int | None  # length beyond which rotary positions depend on what else is in the pass, or was
    steady: bool  # whether beyond `turns` they at least are those of every pass that ends there

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Lengths at which something changes, ascending."""
        return tuple(sorted({one for one in (self.window, self.chunk, self.own, self.turns) if one}))

    def masks(
        self, shown: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor | Mapping[str, torch.Tensor]:
        """What the model is to be given for `shown` [requests, queries, keys] (bool), at these positions.

        `queries` is [requests, queries], `keys` [requests or 1, keys]. Additive, as every attention takes it.
        """
        if not self.kinds:
            return _additive(shown if self.window is None else shown & _near(queries, keys, self.window), dtype)
        made = {}
        for kind in {FULL, *self.kinds}:
            allowed = shown
            if kind == SLIDING and self.window is not None:
                allowed = shown & _near(queries, keys, self.window)
            elif kind == CHUNKED and self.chunk is not None:
                allowed = shown & (queries[:, :, None] // self.chunk == keys[:, None, :] // self.chunk)
            made[kind] = _additive(allowed, dtype)
        return made


def views_of(config: Any) -> Views:
    """Read off a model's configuration."""
    text = config.get_text_config(decoder=True)
    kinds = tuple(sorted(set(getattr(text, "layer_types", None) or ())))
    mixed = kinds if set(kinds) - {FULL} else ()
    window = getattr(text, "sliding_window", None)
    if kinds and SLIDING not in kinds:
        window = None  # said, and used by no layer
    local = "local" in (getattr(text, "attention_layers", None) or ())
    turns, steady = _turns(text)
    return Views(
        kinds=mixed,
        window=window,
        chunk=getattr(text, "attention_chunk_size", None) if CHUNKED in kinds else None,
        own=getattr(text, "window_size", None) if local else None,
        turns=turns,
        steady=steady,
    )


def _turns(text: Any) -> tuple[int | None, bool]:
    """Of rotary positions whose frequencies are chosen anew by the length of what is fed."""
    stated = getattr(text, "rope_parameters", None) or {}
    for one in (stated, *(value for value in stated.values() if isinstance(value, Mapping))):
        kind = one.get("rope_type")
        if kind in ("dynamic", "longrope"):
            limit = one.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", None
            )
            return int(limit or text.max_position_embeddings), kind == "longrope"
    return None, True


def _near(queries: torch.Tensor, keys: torch.Tensor, window: int) -> torch.Tensor:
    return queries[:, :, None] - keys[:, None, :] < window


def _additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[requests, 1, queries, keys]."""
    import torch

    made = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return made.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
