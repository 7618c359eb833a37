"""What a run needs of this machine and what it will be like: pure, from what a pilot of the same run measured.

Time may run slower for a run than for everybody else, by its dilation N: then real passes have N times as long. Where
packets wait with the run's clock (`ON_RUN_CLOCK`), what is late holds the clock, so N may stay small and
a busy machine makes the run longer. Where they do not, N has to be so large that hardly anything is late.
Rule kept: a plan says why, and where nothing fits, what to change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from testbed.network.spec.fabric import ON_RUN_CLOCK
from testbed.nodes.recorded import LATE_NS
from testbed.results.heldclock import LEAST_SPEED, MOST_HELD_SHARE
from testbed.results.records import Step
from testbed.results.validity import LIMITS
from testbed.system.units import NS_PER_MS

NEEDED_SHARE = 0.997  # of the jobs of a device are to be in time
SEEN_JOBS = 334  # with so many the quantile is one of them; with fewer a lognormal law says where it is
NORMAL_QUANTILE = 2.748  # of the standard normal distribution, at NEEDED_SHARE
HAND_OVER_MS = 0.5  # a job on its way to the model's process and back, beside its passes
STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
MOST_HELD_WAITING = 0.2  # of the time, where N is chosen here; a run is valid up to 1 - LEAST_SPEED
HELD_MARGIN = 0.5  # of what may be held elsewhere: the rest is for what a pilot of seconds does not meet
# The kernel's TCP goes on while the clock stands. It repeats after 200 ms N beyond the round trip (TCP_RTO_MIN).
LONGEST_HOLD_MS = 100.0
LATE_MARGIN = 0.5  # of the late passes that are allowed
HANDED_ON_MS = LATE_NS / NS_PER_MS
MOST_BUSY = 0.9  # of the cores that others leave, where nothing waits
LEAST_FREE_MB = 64.0
HOPELESS_LATE = 0.1  # of the pilot's passes: ten times what may be late, so no matter of chance


class Job(NamedTuple):
    """One job of a device: `paced_ms` what the device profile says, `real_ms` what its passes really took."""

    policy: str
    node: str
    kind: str
    paced_ms: float
    real_ms: float

    @property
    def ratio(self) -> float:
        return (self.real_ms + HAND_OVER_MS) / self.paced_ms


class Need(NamedTuple):
    """How much of their emulated time the jobs of one policy, node and kind need here."""

    policy: str
    node: str
    kind: str
    jobs: int
    paced_ms: float  # median
    median: float  # real by paced
    most: float  # the same, at NEEDED_SHARE


class Machine(NamedTuple):
    """Processors and memory while the pilot ran. Unknown memory is None."""

    cores: int
    busy_cores: float  # by the run's processes
    others_cores: float
    memory_mb: float | None  # of the run's processes, shared pages counted once
    free_mb: float | None


class Trial(NamedTuple):
    """The pilot of one policy: how long it took on the machine's clock and on the run's."""

    policy: str
    wall_s: float
    virtual_s: float


class Pilot(NamedTuple):
    """Everything that was measured, at one dilation."""

    dilation: float
    fabric: str
    jobs: Sequence[Job]
    trials: Sequence[Trial]
    passes: int
    late: int
    machine: Machine
    native: Sequence[str] = ()  # roles whose passes take what they take: they cannot be dilated
    links: Sequence[str] = ()  # why the network is out of tolerance already
    # By how much recorded answers were handed on too late, of the run's clock: with N times as long it is an Nth.
    answers_late_ms: Sequence[float] = ()

    @property
    def waits(self) -> bool:
        return self.fabric in ON_RUN_CLOCK

    @property
    def pace(self) -> float:
        """Wall seconds that a virtual second takes this machine at least; 0 where the clock was not held for it."""
        wall_s, virtual_s = sum(one.wall_s for one in self.trials), sum(one.virtual_s for one in self.trials)
        return wall_s / virtual_s if virtual_s and wall_s > self.dilation * virtual_s else 0.0


class Plan(NamedTuple):
    """`fix`: what to change, where this does not fit the machine; `refused`: no dilation of this run does."""

    dilation: float
    pace: float  # wall seconds for a virtual one
    held_share: float
    late_share: float
    reasons: tuple[str, ...]  # why the run will not be valid
    fix: str | None
    refused: bool
    why: str  # this dilation

    @property
    def valid(self) -> bool:
        return not self.reasons


def jobs_of(steps: Iterable[Step]) -> list[Job]:
    """Of paced passes that a model ran. A batch is one pass, however many requests were in it."""
    sums: dict[tuple[str, str, str, int], dict[int, tuple[float, float]]] = {}
    for step in steps:
        if step.paced_ms > 0 and step.real_ms > 0:
            passes = sums.setdefault((step.policy, step.node, step.kind, step.job), {})
            passes[step.started_ns] = step.paced_ms, step.real_ms
    return [
        Job(policy, node, kind, sum(paced for paced, _ in passes.values()), sum(real for _, real in passes.values()))
        for (policy, node, kind, _), passes in sums.items()
    ]


def needs(jobs: Iterable[Job]) -> list[Need]:
    """By policy, node and kind of pass, the most demanding first."""
    groups: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.policy, job.node, job.kind), []).append(job)
    found = []
    for key, group in groups.items():
        ratios = sorted(one.ratio for one in group)
        paced = sorted(one.paced_ms for one in group)
        found.append(Need(*key, len(group), paced[len(paced) // 2], ratios[len(ratios) // 2], quantile(ratios)))
    return sorted(found, key=lambda need: -need.most)


def quantile(ratios: Sequence[float]) -> float:
    """At NEEDED_SHARE: of many the one itself, of few where a lognormal law with their mean and spread has it."""
    ordered = sorted(ratios)
    if len(ordered) >= SEEN_JOBS:
        return ordered[math.ceil(NEEDED_SHARE * len(ordered)) - 1]
    logs = [math.log(one) for one in ordered]
    mean = sum(logs) / len(logs)
    spread = math.sqrt(sum((one - mean) ** 2 for one in logs) / max(1, len(logs) - 1))
    return math.exp(mean + NORMAL_QUANTILE * spread)


def decide(pilot: Pilot, wanted: float | None = None) -> Plan:
    """The plan for a dilation that is `wanted`, or the least that fits; see `Plan.fix` where none does."""
    asked = needs(pilot.jobs)
    floor, because = _floor(pilot, asked)
    chosen = next((step for step in STEPS if step >= floor - 1e-9), None)
    fix = _no_memory(pilot)
    if wanted is None and chosen is None:
        fix = fix or (
            f"{because}, which is dilation {floor:.0f}, and {STEPS[-1]:g} is the most; fix: a smaller or lean model "
            "(testbed models check), slower devices, fewer nodes, or compute.models=recorded"
        )
    hopeless = late_share(pilot, chosen or STEPS[-1])
    if wanted is None and hopeless > HOPELESS_LATE:
        fix = fix or (
            f"{hopeless:.0%} of the pilot's passes were late though the clock was held: devices are "
            "faster than the clock can be held for; fix: slower devices, or other programs stopped"
        )
    if wanted is None and pilot.native and chosen != pilot.dilation and fix is None:
        fix = (
            f"{because}, which is dilation {floor:.2g}, but devices.{pilot.native[0]} is native and cannot be dilated; "
            "fix: give it a device profile (testbed devices list), or other programs stopped, or --fabric relay"
        )
    dilation = (pilot.dilation if fix else chosen or STEPS[-1]) if wanted is None else wanted
    held = held_share(pilot, dilation)
    late = late_share(pilot, dilation)
    reasons = [*pilot.links, *_held_too_long(pilot, dilation, held), *_late(pilot, dilation, late)]
    if fix is not None:
        reasons.append(fix)
    refused = fix is not None
    if not refused and wanted is not None and reasons and not pilot.links:
        least = f"time.dilation={chosen:g} would do ({because})" if chosen is not None and chosen > wanted else because
        fix = f"{reasons[0]}; fix: {least}, or other programs stopped"
    return Plan(dilation, max(dilation, pilot.pace), held, late, tuple(reasons), fix, refused, because)


def held_share(pilot: Pilot, dilation: float) -> float:
    """Of the run's time, for which the clock will stand. What was held at one dilation is work that another has room
    for; where packets do not wait, jobs that are longer than their time are counted one by one."""
    by_pace = max(0.0, 1 - dilation / pilot.pace) if pilot.pace else 0.0
    if dilation == pilot.dilation:
        return by_pace
    wall_ms = 1e3 * dilation * sum(one.virtual_s for one in pilot.trials)
    late_ms = sum(max(0.0, one.real_ms + HAND_OVER_MS - one.paced_ms * dilation) for one in pilot.jobs)
    return max(by_pace, late_ms / (wall_ms + late_ms) if wall_ms else 0.0)


def late_share(pilot: Pilot, dilation: float) -> float:
    """Of the passes: those that the clock could not be held for in time, so not more with more time."""
    seen = pilot.late / pilot.passes if pilot.passes else 0.0
    if pilot.answers_late_ms and dilation > pilot.dilation:
        allowed_ms = HANDED_ON_MS * dilation / pilot.dilation
        return sum(late_ms > allowed_ms for late_ms in pilot.answers_late_ms) / pilot.passes
    if dilation <= pilot.dilation or not pilot.jobs:
        return seen
    return min(seen, sum(one.ratio > dilation for one in pilot.jobs) / len(pilot.jobs))


def _floor(pilot: Pilot, asked: Sequence[Need]) -> tuple[float, str]:
    """The least dilation that fits, and what asks for it."""
    pace = pilot.pace
    found = [(STEPS[0], "real passes and the shaper keep up")]
    if pilot.answers_late_ms and (seen := late_share(pilot, pilot.dilation)) > LATE_MARGIN * LIMITS.overrun_step_share:
        least = _in_time(pilot, LATE_MARGIN * LIMITS.overrun_step_share)
        found.append((least, f"{seen:.1%} of the pilot's recorded answers were handed on late"))
    if pilot.waits:
        found.append((pace * (1 - MOST_HELD_WAITING), f"the machine takes {pace:.2g} s for a second of the run"))
        for need in asked:
            least = need.paced_ms * need.most / (LONGEST_HOLD_MS + need.paced_ms)
            found.append((least, f"{_named(need)} would hold the clock for longer than TCP waits"))
        return max(found)
    found += [(need.most, f"{_named(need)} take {need.most:.2g} times their emulated time") for need in asked]
    if held_share(pilot, pilot.dilation) > HELD_MARGIN * MOST_HELD_SHARE:
        found.append((pace * 1.05, f"the machine takes {pace:.2g} s for a second of the run"))
    free = max(0.1, pilot.machine.cores - pilot.machine.others_cores)
    busy = pilot.machine.busy_cores * pilot.dilation / (MOST_BUSY * free)
    found.append((busy, f"the run wants {pilot.machine.busy_cores:.1f} cores of the {free:.1f} that others leave"))
    return max(found)


def _in_time(pilot: Pilot, share: float) -> float:
    """The dilation at which no more than this share of the recorded answers is late."""
    ordered = sorted(pilot.answers_late_ms, reverse=True)
    first = math.floor(share * pilot.passes)  # of those that may no longer be late
    return pilot.dilation * ordered[first] / HANDED_ON_MS if first < len(ordered) else pilot.dilation


def _named(need: Need) -> str:
    return f"{need.policy}: {need.kind} jobs on {need.node}"


def _held_too_long(pilot: Pilot, dilation: float, held: float) -> Iterable[str]:
    if pilot.waits and 1 - held < LEAST_SPEED:
        yield f"dilation {dilation:g}: the clock would run at {1 - held:.2f} of its speed, {LEAST_SPEED} is the least"
    elif not pilot.waits and held > MOST_HELD_SHARE:
        yield (
            f"dilation {dilation:g}: the clock would be held for {held:.1%} of the time, allowed {MOST_HELD_SHARE:.0%} "
            f"on {pilot.fabric}"
        )


def _late(pilot: Pilot, dilation: float, late: float) -> Iterable[str]:
    """Only what is more than chance makes of so few passes: two standard deviations."""
    count = late * pilot.passes
    if count - 2 * math.sqrt(count) > LIMITS.overrun_step_share * pilot.passes:
        yield f"dilation {dilation:g}: {late:.1%} of the passes would be late, allowed {LIMITS.overrun_step_share:.0%}"


def _no_memory(pilot: Pilot) -> str | None:
    free, used = pilot.machine.free_mb, pilot.machine.memory_mb
    if free is None or free >= LEAST_FREE_MB:
        return None
    holds = "" if used is None else f" (the run holds {used / 1024:.1f} GB)"
    return f"only {free:.0f} MB of memory are free with all nodes up{holds}; fix: fewer nodes or smaller models"


def as_manifest(pilot: Pilot, plan: Plan) -> Mapping[str, object]:
    """What was measured and decided, for the manifest and `testbed plan --json`."""
    return {
        "dilation": plan.dilation,
        "why": plan.why,
        "valid": plan.valid,
        "reasons": list(plan.reasons),
        "fix": plan.fix,
        "pace": round(plan.pace, 4),
        "held_share": round(plan.held_share, 6),
        "late_share": round(plan.late_share, 6),
        "measured_at": pilot.dilation,
        "fabric": pilot.fabric,
        "machine": _rounded(pilot.machine._asdict()),
        "needs": [_rounded(need._asdict()) for need in needs(pilot.jobs)],
    }


def _rounded(values: Mapping[str, object]) -> dict[str, object]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
