"""How much room the results of a run may take: on the generous side, so that a disk is found too small beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from testbed.files.whole import MIB

if TYPE_CHECKING:
    from testbed.experiment.scenario import Scenario

FIXED = {"simulation": MIB, "emulation": 4 * MIB}  # report, manifest, logs; measured: a quarter of it
# Tables, at 77 bytes in simulation; an emulation's nodes also leave their rows of a phase, uncompressed.
PER_TOKEN = {"simulation": 200, "emulation": 1000}


def needed(scenario: Scenario, engine: Literal["simulation", "emulation"]) -> int:
    """Bytes; without captures, whose size is unknown beforehand."""
    workload = scenario.workload
    tokens = workload.requests * workload.output_tokens * len(scenario.policies) * scenario.repeats
    return FIXED[engine] + PER_TOKEN[engine] * tokens
