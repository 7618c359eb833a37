"""What TCP did in a run: its timers as they were asked for, and nothing sent again where nothing was lost. Pure.

Rule: over links that lose nothing, TCP has no reason to send a segment twice. If it did, something kept packets for
longer than TCP waits, and what it does then, a smaller window for one, is no part of the experiment.
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
        "sent_again_without_loss": sum(one["segments"] for one in again if one["judged"]),
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
        judged = [one for one in phase["sent_again"] if one["judged"]]
        if judged:
            most = max(judged, key=lambda one: int(one["segments"]))
            yield (
                f"TCP, {phase['policy']}, repeat {phase['repeat']}: {sum(one['segments'] for one in judged)} segments "
                f"sent again on links without loss, most from {most['src']} to {most['dst']} ({most['segments']})"
            )


def _shortest(phases: list[Mapping[str, Any]]) -> float | None:
    return min((one["shortest_timeout_ms"] for one in phases if one["shortest_timeout_ms"] is not None), default=None)
