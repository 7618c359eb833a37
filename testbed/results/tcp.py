"""What TCP did in a run: its timers as they were asked for, and nothing repaired where nothing was lost. Pure.

Rule: over links that lose nothing, no segment is missing, so none that TCP sends again may be the first to arrive. One
that had arrived before is a probe sent too early, which the other side reports (RFC 2883) and TCP then undoes: the
kernel sends one when an acknowledgement is 8 ms late, as it is while the clock is held. Those are only counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.wire.connection import congestion_control
from testbed.wire.tcpinfo import JIFFY_MS


def summary(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """`tcp` of summary.json; None where there was none, or before it was looked at."""
    tcp = manifest.get("tcp")
    if tcp is None:
        return None
    again = [one for phase in tcp["phases"] for one in phase["sent_again"]]
    return {
        "congestion_control": manifest["connection_congestion_control"],
        "least_timeout_ms": tcp["least_timeout_ms"],
        "shortest_timeout_ms": _shortest(tcp["phases"]),
        "sent_again": sum(one["segments"] for one in again),
        "duplicates": sum(one["duplicates"] for one in again),
        "repaired_without_loss": sum(map(_repairs, again)),
    }


def reasons(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Why TCP makes a run not valid."""
    tcp = manifest.get("tcp")
    if tcp is None:
        return
    dilation, control = manifest["clock"]["dilation"], manifest["connection_congestion_control"]
    if dilation != 1 and control not in (known := congestion_control(dilation)):
        yield f"TCP: congestion control {control}, which counts in wall time; dilation {dilation:g} needs {known[0]}"
    shortest, least = _shortest(tcp["phases"]), tcp["least_timeout_ms"]
    if shortest is not None and shortest < least - JIFFY_MS:
        yield (
            f"TCP: a connection's retransmission timeout was {shortest:.0f} ms of wall time, at dilation {dilation:g} "
            f"it is {least:.0f} ms at least: losses were repaired too early"
        )
    for phase in tcp["phases"]:
        if repairs := sum(map(_repairs, phase["sent_again"])):
            most = max(phase["sent_again"], key=_repairs)
            yield (
                f"TCP, {phase['policy']}, repeat {phase['repeat']}: {repairs} segments were missing on links without "
                f"loss and sent again, most from {most['src']} to {most['dst']} ({_repairs(most)})"
            )


def _repairs(one: Mapping[str, Any]) -> int:
    """What a connection sent again and the other side had not got, if it is to be judged."""
    return max(0, one["segments"] - one["duplicates"]) if one["judged"] else 0


def _shortest(phases: list[Mapping[str, Any]]) -> float | None:
    return min((one["shortest_timeout_ms"] for one in phases if one["shortest_timeout_ms"] is not None), default=None)
