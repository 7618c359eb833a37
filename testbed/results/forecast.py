"""A run's plan held against what came: `plan` of summary.json, and how far it was off.

Rule: a forecast is never corrected afterwards; both numbers stand beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORECAST = ("dilation", "why", "valid", "requests_s", "wall_s", "held_share", "late_share", "durations", "pilot_s")


def beside(
    manifest: Mapping[str, Any], summary: Mapping[str, Any], timings: Mapping[str, float]
) -> dict[str, Any] | None:
    """`plan` of summary.json; None where nothing was planned. `timings`: wall seconds of the stages of the run."""
    plan = manifest.get("plan")
    if plan is None:
        return None
    seen = {
        "valid": summary["validity"]["valid"],
        "requests_s": round(timings["requests"], 1),
        "wall_s": round(sum(timings.values()), 1),
        "held_share": summary["clock"]["held_share"],
        "late_share": summary["compute"]["overrun_share"],
    }
    return {
        **{key: plan[key] for key in FORECAST},
        "seen": seen,
        "requests_error": _error(plan["requests_s"], seen["requests_s"]),
        "wall_error": _error(plan["wall_s"], seen["wall_s"]),
        "verdict_right": plan["valid"] == seen["valid"],
    }


def sentence(plan: Mapping[str, Any]) -> str:
    """What is to be expected, for people."""
    lasts = "of unknown length" if plan["wall_s"] is None else f"{duration(plan['wall_s'])} in all"
    requests = "" if plan["requests_s"] is None else f", {duration(plan['requests_s'])} of it requests"
    verdict = "valid" if plan["valid"] else "not valid"
    return (
        f"{verdict} at dilation {plan['dilation']:g} ({plan['why']}), {lasts}{requests}; clock held for "
        f"{plan['held_share']:.1%}"
    )


def compared(plan: Mapping[str, Any]) -> str:
    """`plan` of summary.json for people: what was expected, and what came."""
    seen = plan["seen"]
    if plan["wall_error"] is None:
        wall = f"no forecast of its length, {duration(seen['wall_s'])} came"
    else:
        off = f"{plan['wall_error']:+.0%}; requests {plan['requests_error']:+.0%}"
        wall = f"{duration(plan['wall_s'])} expected, {duration(seen['wall_s'])} came ({off})"
    verdict = {True: "valid", False: "not valid"}
    right = "as expected" if plan["verdict_right"] else f"{verdict[plan['valid']]} was expected"
    return (
        f"{wall}; {verdict[seen['valid']]}, {right}; clock held for {seen['held_share']:.1%}, expected "
        f"{plan['held_share']:.1%}"
    )


def duration(seconds: float) -> str:
    """Such as 2 min 40 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _error(expected: float | None, seen: float) -> float | None:
    """Positive: it took longer than expected."""
    return None if not expected else round(seen / expected - 1, 4)
