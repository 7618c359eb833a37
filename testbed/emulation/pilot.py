"""A short piece of the run itself, thrown away: what `plan` decides by.

Each policy serves shortened first requests of every user, at the concurrency of the run, in the network and on the
nodes that the run will use. Rule kept: the run does not see it. Its requests have separate numbers, after all of
the run's, so that what is still under way counts as of another phase; roles, seeds and caches begin anew with the first
real phase; its rows are removed; links stay as at the start of a phase.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from testbed.clock.run import RunClock
from testbed.emulation import means
from testbed.emulation.deployment import Deployment, Stalled
from testbed.emulation.durations import piloted
from testbed.emulation.inputs import Inputs
from testbed.emulation.phases import issue, start, stop
from testbed.emulation.plan import Job, Machine, Pilot, Trial, jobs_of
from testbed.emulation.usage import cores_between, memory_mb, ticks
from testbed.experiment.policyentry import PolicyEntry
from testbed.nodes.control import AllDone
from testbed.results import manifest as provenance
from testbed.results.records import RequestRow, Step
from testbed.system.units import NS_PER_S
from testbed.workload.planned import PlannedRequest

CALLED = "pilot"
SHARE = 0.01  # of what the requests are expected to take, within these bounds, for all policies together
LEAST_S, MOST_S = 0.6, 8.0
FEWEST_TOKENS = 4
NATIVE_PASS_MS = 25.0  # of a model that is not paced: only to choose a length
GUARD_S = 10.0  # a policy's pilot ends after so long, by the machine's clock, whatever is still open
LOOK_S = 0.2


@dataclass
class Flown:
    """What the pilot brought: the measurements, and by policy how long its requests will take by them."""

    pilot: Pilot
    lasts_s: dict[str, float] = field(default_factory=dict)
    beside_s: float = 0.0  # wall time of a phase beside its requests
    took_s: float = 0.0


def fly(
    inputs: Inputs,
    deployment: Deployment,
    clock: RunClock,
    fabric: str,
    links: Sequence[str],
    pids: Sequence[int],
) -> Flown:
    """Raises what a phase of the run would.

    `links`: why the network is out of tolerance already; `pids`: the run's processes, with their descendants.
    """
    scenario = inputs.scenario
    began = time.monotonic()
    first = len(scenario.policies) * scenario.repeats * scenario.workload.requests + 1
    jobs: list[Job] = []
    trials: list[Trial] = []
    lasts_s: dict[str, float] = {}
    passes = late = 0
    answers_late_ms: list[float] = []
    before = ticks(pids)
    for entry in scenario.policies:
        planned = shortened(inputs, first)
        first += len(planned)
        trial, steps, requests = _trial(deployment, clock, entry, planned)
        trials.append(trial)
        jobs += jobs_of(steps)
        each = {(one.node, one.kind, one.job, one.started_ns): one.overrun_ms for one in steps}
        late_ms = [one for one in each.values() if one > 0]
        passes, late = passes + len(each), late + len(late_ms)
        if inputs.recorded is not None:
            answers_late_ms += late_ms
        users = deployment.by_role()["user"]
        if (lasts := piloted(requests, inputs.plan(1, 0), users)) is not None:
            lasts_s[entry.label] = lasts
    after = ticks(pids)
    busy, others = cores_between(before, after)
    machine = Machine(provenance.cores(), busy, others, memory_mb(after.of_run), means.here().memory_mb)
    native = [role for role in scenario.devices_in_use() if inputs.experiment.devices[role].native]
    pilot = Pilot(clock.dilation, fabric, jobs, trials, passes, late, machine, native, links, answers_late_ms)
    took_s = time.monotonic() - began
    return Flown(pilot, lasts_s, (took_s - sum(one.wall_s for one in trials)) / len(trials), took_s)


def shortened(inputs: Inputs, first: int) -> list[PlannedRequest]:
    """The first requests of every user, as many at once as the run will have, with fewer tokens; numbered from `first`.

    All begin at once: what comes at random in the run is as many at a time on the average.
    """
    planned = inputs.plan(first, 0)
    users = sum(role == "user" for role, _ in inputs.scenario.place.nodes().values())
    taken = planned[: max(users, _at_once(inputs, planned))]
    tokens = length(inputs)
    return [
        replace(one, max_tokens=min(one.max_tokens, tokens), due_ms=None if one.due_ms is None else 0.0, think_ms=0.0)
        for one in taken
    ]


def length(inputs: Inputs) -> int:
    """Tokens of a shortened request."""
    scenario = inputs.scenario
    users = sum(role == "user" for role, _ in scenario.place.nodes().values())
    pass_ms = inputs.experiment.devices["target"].long_ms(1) or NATIVE_PASS_MS
    each = math.ceil(scenario.workload.requests / users) * scenario.workload.output_tokens
    expected_s = each * pass_ms / 1e3 * len(scenario.policies) * scenario.repeats
    share_s = min(MOST_S, max(LEAST_S, SHARE * expected_s)) / len(scenario.policies)
    return max(FEWEST_TOKENS, round(share_s * 1e3 / pass_ms))


def _at_once(inputs: Inputs, planned: Sequence[PlannedRequest]) -> int:
    """Requests that are open together where they come when they are due: their rate times how long each takes."""
    due_ms = [one.due_ms for one in planned if one.due_ms is not None]
    if len(due_ms) < 2 or max(due_ms) <= 0:
        return 0
    pass_ms = inputs.experiment.devices["target"].long_ms(1) or NATIVE_PASS_MS
    return min(len(planned), math.ceil(len(due_ms) / max(due_ms) * pass_ms * inputs.scenario.workload.output_tokens))


def _trial(
    deployment: Deployment, clock: RunClock, entry: PolicyEntry, planned: Sequence[PlannedRequest]
) -> tuple[Trial, list[Step], list[RequestRow]]:
    paths = start(deployment, entry, 0, planned, CALLED)
    first = clock.moment()
    issue(deployment, planned)
    _wait(deployment, time.monotonic() + GUARD_S)
    last = clock.moment()
    logs = stop(deployment, entry, paths).logs
    steps: list[Step] = []
    requests: list[RequestRow] = []
    for log in logs:
        for row in log:
            if isinstance(row, Step):
                steps.append(row)
            elif isinstance(row, RequestRow):
                requests.append(row)
        log.path.unlink()
    wall_s, virtual_s = (b - a for a, b in zip(first[:2], last[:2], strict=True))
    return Trial(entry.label, wall_s / NS_PER_S, virtual_s / NS_PER_S), steps, requests


def _wait(deployment: Deployment, until: float) -> None:
    """Until every user has all answers, or `until` (time.monotonic): a model may be slow beyond any guess."""
    waiting = set(deployment.by_role()["user"])
    while waiting and time.monotonic() < until:
        try:
            node, reply = deployment.next_reply(LOOK_S, "a request of the pilot")
        except Stalled:
            continue
        if isinstance(reply, AllDone):
            waiting.discard(node.name)
