"""Runs each phase the faster way that can: the compiled world where it has all that the phase asks for, else objects.

Rule kept: which way it was changes no row, and is said with its reason. Loading the compiler takes longer than a small
experiment does, so that one is left to the objects unless the caller says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from testbed.models.tables import DecodeTable
from testbed.nodes.control import PlannedRequest
from testbed.nodes.recorder import PhaseLog
from testbed.results.columns import Joined
from testbed.results.records import RequestRow
from testbed.scenario import PolicyEntry
from testbed.simulation import world
from testbed.simulation.compiled import supports
from testbed.simulation.compiled.logs import PhaseColumns
from testbed.simulation.world import WorldSpec

Way = Literal["compiled", "objects"]
COMPILED = "compiled"

# The object world takes 2.5 s for so many tokens of WANSpec; loading compiler and loop, once compiled, takes about 1 s.
COMPILED_FROM_TOKENS = 50_000


def why_objects(way: Way | None, tokens: int) -> str | None:
    """Why an experiment of so many output tokens does not try the compiled world; None if it does."""
    if way == "objects":
        return "asked for"
    if way is None and tokens < COMPILED_FROM_TOKENS:
        return f"fewer than {COMPILED_FROM_TOKENS} output tokens"
    return None


@dataclass
class Phases:
    """The log of all phases so far, in their order, and by policy label which way they were run.

    `why_objects`: why none of them is to try the compiled world.
    """

    why_objects: str | None = None
    parts: list[PhaseLog | PhaseColumns] = field(default_factory=list)
    ways: dict[str, str] = field(default_factory=dict)
    given_up: dict[str, list[int]] = field(default_factory=dict)  # requests without an answer, as an event cut them off
    gave_up_ns: dict[tuple[str, int], int] = field(default_factory=dict)  # by policy and repeat, when that was

    def run(
        self,
        spec: WorldSpec,
        entry: PolicyEntry,
        repeat: int,
        planned: Sequence[PlannedRequest],
        table: DecodeTable,
        on_done: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        """One more phase. Raises RunInvalid if it comes to rest, TableMiss if it leaves the table."""
        part: PhaseLog | PhaseColumns | None = None
        why_not = self.why_objects or supports(spec, entry, planned, table)
        if why_not is None:
            from testbed.simulation.compiled import phase  # numba takes its time to import

            try:
                part = phase.run_phase(spec, entry, repeat, planned, table)
            except phase.Anomaly as anomaly:
                why_not = str(anomaly)
            else:
                for row in part.requests:
                    on_done(row.output_tokens)
        if part is None:
            objects = world.World(spec, entry, repeat, planned, table, on_done)
            part = objects.run()
            if objects.given_up:
                self.given_up.setdefault(entry.label, []).extend(objects.given_up)
                self.gave_up_ns[entry.label, repeat] = objects.kernel.now_ns
        self.parts.append(part)
        if why_not is not None:
            self.ways[entry.label] = f"objects: {why_not}"
        self.ways.setdefault(entry.label, COMPILED)

    @property
    def requests(self) -> list[RequestRow]:
        return [row for part in self.parts for row in part.requests]

    def rows(self, kind: str) -> Sequence[Any]:
        """Rounds, steps or messages of all phases: structs, or columns that read as structs."""
        parts = [getattr(part, kind) for part in self.parts]
        if all(isinstance(part, list) for part in parts):
            return [row for part in parts for row in part]
        return Joined(parts)

    @property
    def lookups(self) -> dict[str, tuple[int, int]]:
        """Answers about trees, as `PhaseLog` counts them; the compiled world has no trees."""
        counted = PhaseLog()
        for part in self.parts:
            if isinstance(part, PhaseLog):
                counted.extend(PhaseLog(lookups=part.lookups))
        return counted.lookups
