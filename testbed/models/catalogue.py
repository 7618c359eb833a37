"""The models and pairs that ship, and those added beside them: names, sizes, hashes. Reads weight headers only; needs
no torch."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from testbed.errors import BadInput
from testbed.files.yamlfile import nearest, said
from testbed.models.load import known_models, model_hash
from testbed.models.lookup import LOOKUP, lookup_sha256

TARGET = "target"


@dataclass(frozen=True)
class ShippedModel:
    """One shipped model; `bytes` counts its whole folder."""

    name: str
    parameters: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShippedPair:
    """A target and the drafters distilled from it, largest first."""

    name: str
    target: ShippedModel
    drafts: tuple[ShippedModel, ...]


def list_models() -> list[ShippedModel]:
    """Every model that ships or was added, by name."""
    return [known_model(name) for name in known_models()]


def known_model(name: str) -> ShippedModel:
    """Raises BadInput. Prompt lookup is a drafter of no parameters, whose hash is that of its rule."""
    if name == LOOKUP:
        return ShippedModel(LOOKUP, 0, 0, lookup_sha256())
    folders = known_models()
    if name not in folders:
        raise BadInput(f"no model {said(name)} ships or was added{nearest(name, folders)}")
    return ShippedModel(
        name,
        sum(_parameters(path) for path in folders[name].glob("*.safetensors")),
        sum(path.stat().st_size for path in folders[name].iterdir()),
        model_hash(name),
    )


def list_pairs() -> list[ShippedPair]:
    """Every shipped pair by name."""
    models = {model.name: model for model in list_models()}
    pairs = []
    for name in models:
        pair, _, role = name.rpartition(f"-{TARGET}")
        if pair and not role:
            drafts = [model for other, model in models.items() if other.startswith(f"{pair}-") and other != name]
            drafts.sort(key=lambda model: -model.parameters)
            pairs.append(ShippedPair(pair, models[name], tuple(drafts)))
    return pairs


def _parameters(weights: Path) -> int:
    """Numbers in a safetensors file: its header (8 bytes of length, then JSON) lists every tensor's shape."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
