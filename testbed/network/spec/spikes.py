"""Makes a synthetic RTT trace: a constant round trip with spikes, for the time scale of one request.

Measured inter-region series that resolve seconds are hard to come by; what this makes says `kind: synthetic` and all
its parameters in its header. Rule kept: one seed, one file, on every Python: of `random.Random` only `random()` is
used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from testbed.network.spec.series import COLUMNS

MIN_LENGTH_S = 0.05  # of a spike and of the quiet before it: shorter than a few passes, neither would be noticed


@dataclass(frozen=True)
class Spikes:
    """Quiet at `base_ms`; spikes come at random (exponential gaps), each with a height and a length."""

    base_ms: float
    seconds: float
    per_minute: float  # of quiet time
    mean_height_ms: float  # exponential, on top of the base
    mean_length_s: float  # exponential, but at least MIN_LENGTH_S
    seed: int


def spike_series(src: str, dst: str, spikes: Spikes, licence: str = "Apache-2.0") -> str:
    """The text of a series file for one pair, the same in both directions."""
    random = Random(spikes.seed)

    def exponential(mean: float) -> float:
        return -mean * math.log1p(-random.random())

    def quiet_s() -> float:
        return max(MIN_LENGTH_S, exponential(60.0 / spikes.per_minute))

    rows = [(0.0, spikes.base_ms)]
    at_s = quiet_s()
    while True:
        end_s = at_s + max(MIN_LENGTH_S, exponential(spikes.mean_length_s))
        height_ms = exponential(spikes.mean_height_ms)
        if end_s >= spikes.seconds:
            break
        rows += [(at_s, spikes.base_ms + height_ms), (end_s, spikes.base_ms)]
        at_s = end_s + quiet_s()
    rows.append((spikes.seconds, spikes.base_ms))
    about = {
        "description": f"{src} - {dst}: constant {spikes.base_ms:g} ms with spikes, made up to stress policies",
        "kind": "synthetic",
        "source": f"testbed.network.spec.spikes, {spikes}",
        "licence": licence,
    }
    header = [f"# {key}: {value}" for key, value in about.items()]
    return "\n".join([*header, ",".join(COLUMNS), *(f"{t:.3f},{src},{dst},{rtt:.2f}" for t, rtt in rows)]) + "\n"
