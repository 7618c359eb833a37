"""What a pair of models is fit for, as nodes and workers are told it: found by `testbed.models.fitness`."""

from __future__ import annotations

import msgspec


class Fit(msgspec.Struct, frozen=True):
    """What is known of one model of a pair: kinds of pass that it is not right in and why, sizes of vocabularies."""

    refused: dict[str, str] = {}
    sizes: str = ""


class Fitness(msgspec.Struct, frozen=True):
    """What nodes are told of a pair, by role of the model."""

    refused: dict[str, dict[str, str]] = {}
    vocabularies: dict[str, int] = {}

    def of(self, role: str) -> Fit:
        """The model's share."""
        sizes = " and ".join(str(size) for size in self.vocabularies.values())
        return Fit(self.refused.get(role, {}), f"vocab_size {sizes}" if sizes else "")
