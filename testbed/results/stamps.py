"""What must be seen before any number of a run: that it is not valid, that it was simulated, that it gave something up.

Rule: terminal, report, figures and Python print the same stamps, from `summary.json` alone, so that old runs get them
too. SIMULATED is as loud as NOT VALID: a number without a packet behind it must not pass for a measured one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from testbed.results import heldclock, overload
from testbed.results.recorded import recorded_compute
from testbed.results.sampling import unverified
from testbed.results.unmet import sentence

NOT_VALID, SIMULATED = "NOT VALID", "SIMULATED"


class Stamp(NamedTuple):
    """`title` in large letters, `about` beside it, a line each below it."""

    title: str
    about: str
    lines: tuple[str, ...]


def stamps(summary: Mapping[str, Any]) -> list[Stamp]:
    """In the order in which they are to be read; none for an emulated run without a fault."""
    found: list[Stamp] = []
    validity = summary["validity"]
    titles = across(summary)
    if NOT_VALID in titles:
        found.append(Stamp(NOT_VALID, "do not use these numbers", told(validity)))
    if SIMULATED in titles:
        found.append(simulated())
    if recorded_compute(summary):
        said = "the network was real; no model ran: tokens come from a decode table, times from device profiles"
        found.append(Stamp("RECORDED COMPUTE", "as recorded, not computed", (said,)))
    if (clock := summary.get("clock")) is not None and clock["dilation"] != 1:
        title = f"DILATION {clock['dilation']:g}"
        found.append(Stamp(title, "times are the run's, not this machine's", (heldclock.sentence(clock),)))
    if by_choice := summary.get("not_lossless_by_choice"):
        lines = tuple(f"{label}: {unverified(counts)}" for label, counts in by_choice.items())
        found.append(Stamp("NOT LOSSLESS BY CHOICE", "", lines))
    if events := summary.get("unmet_events"):
        found.append(Stamp("EVENTS AFTER THE LAST REQUEST", "", tuple(sentence(one) for one in events)))
    if phases := summary.get("overload"):
        lines = tuple(overload.sentence(one) for one in phases)
        found.append(Stamp("OVERLOAD", "more requests than could be served", lines))
    return found


def simulated() -> Stamp:
    """What stands on everything that comes from a simulation."""
    said = (
        "no packet was sent, no model ran: tokens come from a decode table, times from device profiles and the topology"
    )
    return Stamp(SIMULATED, "computed, not measured", (said,))


def across(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The titles that every figure of the run carries."""
    here = {NOT_VALID: not summary["validity"]["valid"], SIMULATED: summary["engine"] == "simulation"}
    return tuple(title for title, has in here.items() if has)


def told(validity: Mapping[str, Any]) -> tuple[str, ...]:
    """The reasons of a run that is not valid, and after those of one cause what to do about it."""
    reasons: Sequence[str] = validity["reasons"]
    advice: Sequence[str | None] = validity.get("advice") or [None] * len(
        reasons
    )  # None: a run of before this was said
    lines = []
    for index, (reason, what) in enumerate(zip(reasons, advice, strict=True)):
        lines.append(reason)
        if what is not None and what not in advice[index + 1 :]:
            lines.append(f"-> {what}")
    return tuple(lines)
