"""Plain greedy decoding with the target alone, one token a pass: the output every policy must reproduce.

The gap between the two best logits is kept for every token, because a gap near the arithmetic's error is the only
innocent explanation of a later mismatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.models.runtime import CausalRuntime

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Greedy:
    """Tokens chosen, with the gap between the two best logits and the entropy (nats) at each."""

    tokens: tuple[int, ...]
    margins: tuple[float, ...]
    entropies: tuple[float, ...]


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of the distribution over the last axis."""
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def greedy(
    runtime: CausalRuntime, request: int, prompt: Sequence[int], max_tokens: int, eos: int | None = None
) -> Greedy:
    """Decode up to `max_tokens` tokens after `prompt`; `eos`, if met, is the last one. Releases the request."""
    tokens: list[int] = []
    margins: list[float] = []
    entropies: list[float] = []
    position, fed = 0, list(prompt)
    runtime.release(request)
    while len(tokens) < max_tokens and (eos is None or not tokens or tokens[-1] != eos):
        logits = runtime.forward(request, position, fed)[0]
        best = logits.topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        entropies.append(float(entropy(logits)))
        position, fed = position + len(fed), [tokens[-1]]
    runtime.release(request)
    return Greedy(tuple(tokens), tuple(margins), tuple(entropies))
