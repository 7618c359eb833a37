"""Why a run is not valid, and for each reason what to do next: one cause, one line of advice, all in one table.

Rule: whoever finds a fault names its cause; what helps against the cause stands here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple

MOST_NAMED = 12  # of what is wrong in one way; 250 nodes have 62,250 links


def some(texts: Iterable[str]) -> list[str]:
    """As many as are read, and how many more there are."""
    every = list(texts)
    more = len(every) - MOST_NAMED
    return every if more <= 0 else [*every[:MOST_NAMED], f"and {more:,} more like these"]


class Cause(Enum):
    """What kind of fault it is."""

    UNFINISHED = auto()
    WRONG_OUTPUT = auto()
    LOG = auto()
    LINK = auto()
    LINK_DURING = auto()
    LINK_UNKNOWN = auto()
    LINK_LATE = auto()
    UNSHAPED = auto()
    DROPPED = auto()
    LATE_PASSES = auto()
    LATE_ANSWERS = auto()
    LATE_REQUESTS = auto()
    CLOCK = auto()
    TCP = auto()


ADVICE: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.UNFINISHED: "let events end before the last request, or take more requests out of the workload",
        Cause.WRONG_OUTPUT: "check the models (testbed models check) and the policy (testbed policies check)",
        Cause.LOG: "a fault of the testbed or of your policy: run testbed policies check, and report it",
        Cause.LINK: "run again on a quiet machine; testbed probe shows whether the network alone is in tolerance",
        Cause.LINK_DURING: "leave the fabric a free core: fewer nodes, other programs stopped or started with nice",
        Cause.LINK_UNKNOWN: "run again: too few probes came back to judge by; testbed probe measures the network alone",
        Cause.LINK_LATE: "leave the fabric a free core, or replay the series more slowly (network.speed)",
        Cause.UNSHAPED: "a fault of the testbed: report it with the run directory",
        Cause.DROPPED: "send less at a time (fewer users, a smaller k), or give the link a rate in the topology",
        Cause.LATE_PASSES: "leave each model process a free core: fewer drafters, other programs stopped or started "
        "with nice, a smaller or lean model (testbed models check), a slower device, or compute.models=recorded",
        Cause.LATE_ANSWERS: "leave the nodes more of the machine: fewer nodes, other programs stopped or started with "
        "nice, or slower devices",
        Cause.LATE_REQUESTS: "ask for less at a time: fewer users, a lower rate of arrivals, other programs stopped",
        Cause.CLOCK: "leave each model process a free core, or use --fabric relay, whose packets wait with the clock",
        Cause.TCP: "leave the fabric a free core, or raise time.dilation: TCP then waits longer before it sends again",
    }
)


class Reason(NamedTuple):
    """One reason why a run must not be trusted."""

    cause: Cause
    text: str

    @property
    def advice(self) -> str:
        return ADVICE[self.cause]
