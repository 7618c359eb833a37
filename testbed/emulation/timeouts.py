"""How long an emulated trial may be silent before it counts as stalled, or before requests cut off by an event time
out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.errors import BadInput
from testbed.experiment.resolve import Resolved
from testbed.experiment.timeouts import GIVE_UP_S as GIVE_UP_S
from testbed.experiment.timeouts import gives_up_s, last_for_good_ns, work_s
from testbed.system.units import NS_PER_S
from testbed.wire.tcpinfo import longest_cut_s, longest_timeout_s
from testbed.workload.planned import PlannedRequest

NATIVE_STEP_MS = 200.0  # of a model that is not paced: only to tell a slow run from a stalled one
STALLED_S = 60.0  # beyond three times what a request should take


@dataclass(frozen=True)
class Patience:
    """`limit_s`: no request ends for so long. `gives_up`: then they are given up, else the run ends."""

    limit_s: float
    gives_up: bool


def patience(experiment: Resolved, requests: Sequence[PlannedRequest]) -> Patience:
    """Three times what a request should take, and a minute; after cuts that heal, until TCP can have come back.

    Where something is gone for good, seconds instead of the minute.
    """
    scenario = experiment.scenario
    step_ms = sum(device.long_ms(1) or NATIVE_STEP_MS for device in experiment.devices.values())
    seconds = work_s(step_ms, experiment.slowest_rtt_ms, scenario.workload.output_tokens, requests)
    cuts_ns = [cut for pair in experiment.schedule.pairs.values() for cut in pair.cuts]
    if healed_ns := [(since_ns, until_ns) for since_ns, until_ns in cuts_ns if until_ns is not None]:
        first_ns, last_ns = min(since_ns for since_ns, _ in healed_ns), max(until_ns for _, until_ns in healed_ns)
        # a connection doubles its timeout while its link is cut, so it comes back within as long again
        again_s = min(longest_timeout_s(experiment.dilation), (last_ns - first_ns) / NS_PER_S)
        seconds += last_ns / NS_PER_S + again_s
    ends_cut_ns = [since_ns for since_ns, until_ns in cuts_ns if until_ns is None]
    if (for_good_ns := last_for_good_ns(scenario.events, ends_cut_ns)) is not None:
        return Patience(gives_up_s(for_good_ns, seconds), gives_up=True)
    return Patience(STALLED_S + seconds, gives_up=False)


def refuse_long_cuts(experiment: Resolved) -> None:
    """BadInput for a cut that heals after so long that a dilated TCP would come back at another time than in life."""
    if experiment.dilation == 1:
        return
    most_s = longest_cut_s(experiment.dilation, experiment.slowest_rtt_ms)
    for (src, dst), schedule in experiment.schedule.pairs.items():
        for since_ns, until_ns in schedule.cuts:
            if until_ns is not None and (until_ns - since_ns) / NS_PER_S > most_s:
                raise BadInput(
                    f"events: {src} to {dst} is cut for {(until_ns - since_ns) / NS_PER_S:g} s, and TCP, which tries "
                    f"again after 120 s of wall time at the latest, is right up to {most_s:.1f} s at time.dilation "
                    f"{experiment.dilation:g}; make the cut shorter, or the dilation nearer to 1"
                )
