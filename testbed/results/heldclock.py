"""How a run's clock went: how long it was held in each phase, by whom, and when that is too much.

Rule: a held clock keeps results right on the relay, whose packets wait with it; what is in the kernel does not wait, so
on the other fabrics it may be held for a hundredth of a phase only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.network.spec.fabric import ON_RUN_CLOCK

MOST_HELD_SHARE = 0.01  # of a phase, elsewhere: a packet in flight comes so much too early
LEAST_SPEED = 0.2  # below, a run takes five times as long as it says: the machine does not carry it


def summary(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """`clock` of summary.json; None where nothing could be held (simulated, or before there was such a clock)."""
    clock = manifest.get("clock")
    return None if clock is None else of_phases(clock)


def dilation_of(manifest: Mapping[str, Any]) -> float:
    """N of a run; 1 where there was no clock but the machine's, or nothing but virtual time."""
    return float((manifest.get("clock") or {}).get("dilation", 1.0))


def of_phases(clock: Mapping[str, Any]) -> dict[str, Any]:
    """The whole run's, of `clock` in the manifest."""
    phases = clock["phases"]
    wall_s, virtual_s = sum(one["wall_s"] for one in phases), sum(one["virtual_s"] for one in phases)
    speed = virtual_s / wall_s if wall_s else 1 / clock["dilation"]
    return {
        "dilation": clock["dilation"],
        "held_share": round(max(0.0, 1 - speed * clock["dilation"]), 6),
        "speed": round(speed, 6),
        "wall_s": round(wall_s, 3),
        "virtual_s": round(virtual_s, 3),
        "phases": [{key: value for key, value in one.items() if key != "holders"} for one in phases],
    }


def reasons(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Why the clock makes a run not valid."""
    clock = manifest.get("clock")
    for phase in () if clock is None else clock["phases"]:
        name = f"clock, {phase['policy']}, repeat {phase['repeat']}"
        for holder, held in phase["holders"].items():
            if held["broken"]:
                yield f"{name}: {holder} held it for too long {held['broken']} times, and was not waited for any longer"
        share, most = phase["held_share"], phase["holders"]
        by = f"; {max(most, key=lambda one: most[one]['ms'])} held it longest" if most else ""
        if manifest["fabric"] not in ON_RUN_CLOCK and share > MOST_HELD_SHARE:
            yield f"{name}: held for {share:.1%} of the time, allowed {MOST_HELD_SHARE:.0%} on {manifest['fabric']}{by}"
        elif 1 - share < LEAST_SPEED:
            yield f"{name}: ran at {1 - share:.2f} of its speed, at least {LEAST_SPEED} is wanted{by}"


def sentence(clock: Mapping[str, Any]) -> str:
    """Of `summary`, for people."""
    share = f"the run's clock was held for {clock['held_share']:.2%} of"
    why = "so that nothing was late that it could wait for"
    if clock["dilation"] == 1:
        return f"{share} {clock['wall_s']:.0f} s, {why}"
    took = f"{clock['virtual_s']:.0f} s took {clock['wall_s']:.0f} s of this machine's time"
    return f"at dilation {clock['dilation']:g} {took}; {share} that, {why}"


def mark(clock: Mapping[str, Any]) -> str:
    """Of `summary`, for the corner of a figure."""
    return f"dilation {clock['dilation']:g}, {held(clock)}"


def held(clock: Mapping[str, Any]) -> str:
    """Of `summary`, in three words."""
    return f"clock held {clock['held_share']:.2%}"
