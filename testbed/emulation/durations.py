"""How long each policy's requests will take on the run's clock: simulated where a decode table fits, else from a pilot.

Rule kept: a forecast of a long run costs no more than that of a short one: of many requests only the first are
simulated, and the rest is taken to go on like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from testbed.emulation.inputs import Inputs
from testbed.errors import TestbedError
from testbed.results.records import RequestRow
from testbed.simulation.inputs import SimulationInputs, Sources, from_scenario
from testbed.simulation.world import Overheads, World
from testbed.system.units import NS_PER_MS, NS_PER_S
from testbed.workload.planned import PlannedRequest, by_user

MOST_TOKENS = 8_000  # simulated, of all policies together: half a second
# What an emulation adds to a job and a message (docs/performance.md, overhead per round).
OVERHEADS = Overheads(job_ms=0.1, message_ms=0.05)


class _Known(Sources):
    """Files as ever, and weights whose hash was taken already."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = hashes

    def weights(self, name: str) -> str:
        return self._hashes[name] if name in self._hashes else super().weights(name)


def simulated(inputs: Inputs) -> dict[str, float] | None:
    """Seconds of one repeat of each policy, by label; None where no decode table answers for this experiment."""
    scenario = inputs.scenario
    hashes = {name: inputs.model_hashes[role] for role, name in scenario.models.model_dump().items()}
    try:
        found = from_scenario(scenario, None, OVERHEADS, lambda text: None, _Known(hashes))
        return _lasted_s(found)
    except TestbedError:  # what a table cannot tell, a pilot can
        return None


def _lasted_s(found: SimulationInputs) -> dict[str, float]:
    scenario = found.scenario
    spec, planned = replace(found.world(), detailed=False), found.plan(1, 0)
    users = sum(role == "user" for role, _ in scenario.place.nodes().values())
    per_policy = MOST_TOKENS // (len(scenario.policies) * scenario.workload.output_tokens)
    first = planned[: max(users, per_policy // users * users)]
    lasted = {}
    for entry in scenario.policies:
        rows = World(spec, entry, 0, first, found.table).run().requests
        seconds = max((row.finished_ns for row in rows), default=0) / NS_PER_S
        lasted[entry.label] = continued_s(seconds, first, planned)
    return lasted


def continued_s(seconds: float, first: Sequence[PlannedRequest], planned: Sequence[PlannedRequest]) -> float:
    """Of all that is planned, where its first requests took `seconds`.

    Requests with a due time come when they are due, those without follow one another at the same rate.
    """
    due_s, last_due_s = _last_due_s(first), _last_due_s(planned)
    untimed = [sum(one.due_ms is None for one in some) for some in (first, planned)]
    share = untimed[1] / untimed[0] if untimed[0] else 1.0
    return last_due_s + max(0.0, seconds - due_s) * share


def piloted(rows: Sequence[RequestRow], planned: Sequence[PlannedRequest], users: Sequence[str]) -> float | None:
    """Seconds of one policy, where the pilot's requests were as `rows` says; None where none of them ended.

    To the first token as there, and from token to token as there, up to the length limit of every request.
    """
    if not rows:
        return None
    first_ms = sum(row.first_token_ns - row.sent_ns for row in rows) / len(rows) / NS_PER_MS
    between = sum(row.output_tokens - row.chunk_tokens[0] for row in rows if row.chunk_tokens)
    streamed_ms = sum(row.finished_ns - row.first_token_ns for row in rows) / NS_PER_MS
    token_ms = streamed_ms / between if between else first_ms
    lasts_s = [0.0]
    for theirs in by_user(planned, users).values():
        each_s = [(first_ms + token_ms * (one.max_tokens - 1)) / 1e3 for one in theirs]
        timed = [one.due_ms / 1e3 + each for one, each in zip(theirs, each_s, strict=True) if one.due_ms is not None]
        untimed = [one.think_ms / 1e3 + each for one, each in zip(theirs, each_s, strict=True) if one.due_ms is None]
        lasts_s.append(max(timed, default=0.0) + sum(untimed))
    return max(lasts_s)


def _last_due_s(planned: Sequence[PlannedRequest]) -> float:
    return max((one.due_ms for one in planned if one.due_ms is not None), default=0.0) / 1e3
