"""What metrics of cost need and a log does not hold: where nodes stand, what devices draw, what things cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.experiment.prices import Prices

PROFILE_OF = {"target": "target", "draft": "drafter"}  # a model's key under `devices:`


@dataclass(frozen=True)
class Accounts:
    """Of one run."""

    sites: Mapping[str, str] = field(default_factory=dict)
    busy_w: Mapping[str, float] = field(default_factory=dict)  # by model, where a source says
    prices: Prices | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Accounts:
        """Of a run; one of before there were powers has none."""
        known = manifest.get("powers", {})
        busy_w = {model: float(known[key]["busy_w"]) for model, key in PROFILE_OF.items() if key in known}
        given = manifest["scenario"].get("prices")
        prices = None if given is None else Prices.model_validate(given)
        return cls(manifest.get("node_placement", {}), busy_w, prices)
