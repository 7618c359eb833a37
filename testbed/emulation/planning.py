"""The first step of an emulated run: a pilot, the plan that follows from it, and a forecast to hold the run against."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.clock.run import RunClock
from testbed.containers.nodes import ContainerNodes
from testbed.emulation import durations, stages
from testbed.emulation.deployment import Deployment
from testbed.emulation.inputs import Inputs
from testbed.emulation.pilot import Flown, fly
from testbed.emulation.plan import Machine, Need, Plan, as_manifest, decide, needs
from testbed.emulation.usage import Turns, slowed, turns
from testbed.errors import MachineCannot
from testbed.network.network import Network
from testbed.results.forecast import sentence

FLAWLESS_AFTER = 100  # probes of a link after the run, where none is late or lost
# Seconds of a run beside its requests that no pilot shows, on a free core of the machine of docs/performance.md.
CHECK_S, RECORDED_CHECK_S, REPORT_S, TEARDOWN_S, PROBE_S = 3.0, 0.3, 2.0, 0.3, 0.6
WATCH_S = 0.4  # of a phase, on a busy machine too: the in-run probe, real-time, starts before it and is read after it
TOGETHER = 5.0  # a token of a long pass takes so much less than one by itself: outputs are checked in long passes


@dataclass(frozen=True)
class Planned:
    """`facts`: for the manifest; `again`: the run has to come up once more, with the plan's dilation."""

    plan: Plan
    facts: Mapping[str, Any]
    again: bool


def plan_run(
    inputs: Inputs,
    deployment: Deployment,
    clock: RunClock,
    network: Network,
    contained: ContainerNodes | None,
    so_far: Mapping[str, float],
    wanted: float | None,
    watched: bool,
    since: Turns | None,
) -> Planned:
    """`so_far`: wall seconds of the stages before; `wanted`: the dilation that was asked for, None: the best.

    `watched`: whether the in-run probe will watch the links; `since`: what this thread had run when the run began.
    """
    began = time.monotonic()
    pids = [os.getpid(), *(contained.pids.values() if contained is not None else ())]
    flown = fly(inputs, deployment, clock, network.fabric_name, network.invalid_reasons(), pids)
    plan = decide(flown.pilot, wanted)
    again = not plan.refused and plan.dilation != clock.dilation
    simulated = durations.simulated(inputs)
    longer = slowed(since, turns()) or _slowed(flown.pilot.machine)
    lasts_s = flown.lasts_s if simulated is None else simulated
    before = dict(so_far) | {stages.PLAN: time.monotonic() - began + inputs.experiment.drain_s}
    forecast = _forecast(inputs, flown, plan, lasts_s, network, before, again, watched, longer)
    facts = {
        **as_manifest(flown.pilot, plan),
        **forecast,
        "durations": "piloted" if simulated is None else "simulated",
        "virtual_s": {label: round(seconds, 3) for label, seconds in lasts_s.items()},
        "pilot_s": round(flown.took_s, 2),
    }
    return Planned(plan, facts, again)


def refuse(planned: Planned) -> None:
    """MachineCannot where nothing fits: the run would end, or is known not to be valid."""
    if planned.plan.refused:
        raise MachineCannot(f"plan: {planned.plan.fix}")


def said(facts: Mapping[str, Any]) -> list[str]:
    """A few lines for people."""
    machine = facts["machine"]
    lines = [f"plan: {sentence(facts)}"]
    if facts["needs"]:
        need = facts["needs"][0]
        lines.append(
            f"plan: {need['policy']}, {need['kind']} on {need['node']}, needs most: {need['most']:.2f} of its emulated "
            f"time (99.7 %); {machine['busy_cores']:.1f} of {machine['cores']} cores for the run, "
            f"{machine['others_cores']:.1f} for others"
            + ("" if machine["memory_mb"] is None else f"; {machine['memory_mb'] / 1024:.1f} GB")
        )
    lines += [f"plan: not valid: {reason}" for reason in facts["reasons"]]
    return lines


def _forecast(
    inputs: Inputs,
    flown: Flown,
    plan: Plan,
    lasts_s: Mapping[str, float],
    network: Network,
    before: Mapping[str, float],
    again: bool,
    watched: bool,
    longer: float,
) -> dict[str, Any]:
    """Wall seconds of the stages to come, and of the run; null where the length of the requests is not known."""
    scenario = inputs.scenario
    phases = len(scenario.policies) * scenario.repeats
    known = len(lasts_s) == len(scenario.policies)
    virtual_s = sum(lasts_s.values()) * scenario.repeats + inputs.experiment.drain_s * phases
    requests_s = virtual_s * plan.pace + (flown.beside_s + WATCH_S * watched) * phases
    twice_s = sum(before.get(stage, 0.0) for stage in (stages.NETWORK, stages.NODES)) if again else 0.0
    asked = needs(flown.pilot.jobs)
    links_s = network.lasts_s(FLAWLESS_AFTER)
    rest_s = links_s + (PROBE_S + _check_s(inputs, asked) + REPORT_S + TEARDOWN_S) * longer
    return {
        "requests_s": round(requests_s, 1) if known else None,
        "wall_s": round(sum(before.values()) + twice_s + requests_s + rest_s, 1) if known else None,
    }


def _slowed(machine: Machine) -> float:
    """How much longer a busy thread takes here than on a free core, by what others use: a kernel may not say more."""
    return max(1.0, (1 + machine.others_cores) / machine.cores)


def _check_s(inputs: Inputs, found: Sequence[Need]) -> float:
    """Of comparing every output with target-only decoding."""
    if inputs.recorded is not None:
        return RECORDED_CHECK_S
    workload = inputs.scenario.workload
    prompts = min(workload.requests, len(inputs.experiment.prompts.prompts))
    token_ms = min((one.median * one.paced_ms for one in found if one.kind == "verify"), default=0.0) / TOGETHER
    return CHECK_S + prompts * workload.output_tokens * token_ms / 1e3
