"""How a request's tokens are chosen: greedy, or sampled with a temperature. Shared by policies, wire and models."""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """Logit processing in the usual order: temperature, top-k, top-p. Temperature 0 is greedy.

    Draws are keyed by (seed, request, absolute position), never by batch slot or time.
    """

    temperature: float = 0.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    seed: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0
