"""Events that came when all requests of a phase had ended, so that none could meet them: said, as they were asked for.

How long requests take is known only from the run itself; so it is there, not in the experiment's file, that this shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from testbed.experiment.faults import Event


class PhaseTime(NamedTuple):
    """How long the requests of one policy and repeat took together, from their start: `phases` of manifest.json."""

    policy: str
    repeat: int
    lasted_s: float


def unmet(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`unmet_events` of summary.json: each such event with the phases it came too late for, in how many of all."""
    phases = manifest.get("phases", ())  # a run of before this was kept has none
    found = []
    for event in map(Event.model_validate, manifest["scenario"].get("events", ()) if phases else ()):
        if too_late := [phase for phase in phases if event.at_s > phase["lasted_s"]]:
            found.append({"at_s": event.at_s, "event": event.about, "of_phases": len(phases), "phases": too_late})
    return found


def sentence(one: Mapping[str, Any]) -> str:
    """One of `unmet_events` for people."""
    phases: Sequence[Mapping[str, Any]] = one["phases"]
    policies = ", ".join(dict.fromkeys(phase["policy"] for phase in phases))
    longest_s = max(phase["lasted_s"] for phase in phases)
    return (
        f"{one['event']}, at {one['at_s']:g} s: affected no request in {len(phases)} of {one['of_phases']} trials "
        f"({policies}), which had all ended after {longest_s:.1f} s"
    )
