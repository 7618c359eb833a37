"""Whether a run's tokens were recorded: then its outputs are those of the table, and nothing was checked by that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.experiment.compute import RECORDED


def recorded_compute(facts: Mapping[str, Any]) -> bool:
    """Of an emulated run, by its manifest or its summary: packets were real, and no model ran."""
    return bool(facts["engine"] == "emulation" and facts.get("compute_models") == RECORDED)


def as_recorded(facts: Mapping[str, Any]) -> bool:
    return bool(facts["engine"] == "simulation") or recorded_compute(facts)
