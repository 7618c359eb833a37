"""What a pair of models is fit for, as nodes and workers are told it: found by `testbed.models.fitness`."""

from __future__ import annotations

import msgspec


class Fit(msgspec.Struct, frozen=True):
    """What is known of one model of a pair: kinds of pass that it is not right in and why, sizes of vocabularies."""

    refused: dict[str, str] = {}
    sizes: str = ""
    pack: str = ""  # path of its weights as lean passes read them; empty: there is none
    unpacked: str = ""  # why a lean model has none, in words


class Fitness(msgspec.Struct, frozen=True):
    """What nodes are told of a pair, by role of the model."""

    refused: dict[str, dict[str, str]] = {}
    vocabularies: dict[str, int] = {}
    packs: dict[str, str] = {}
    unpacked: dict[str, str] = {}

    def of(self, role: str) -> Fit:
        """The model's share."""
        sizes = " and ".join(str(size) for size in self.vocabularies.values())
        refused, pack = self.refused.get(role, {}), self.packs.get(role, "")
        return Fit(refused, f"vocab_size {sizes}" if sizes else "", pack, self.unpacked.get(role, ""))
