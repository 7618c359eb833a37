"""Carries out a schedule's steps, each at its moment: pure but for the clock and the fabric it is given.

Rules kept: every step has an absolute deadline counted from one start, so lateness never adds up; the next step is
ready before it is waited for; scheduled and actual time of every step are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from testbed.errors import BadInput
from testbed.network.spec.fabric import Link, Pair
from testbed.network.spec.schedule import LinkSchedule, Step


class Applied(NamedTuple):
    """One step as it happened: nanoseconds of the run's clock. From `applied_ns` on all its links were as scheduled."""

    scheduled_ns: int
    started_ns: int
    applied_ns: int
    links: int


class _Prepared(NamedTuple):
    step: Step
    bring_into_force: Callable[[], None]


class Replay:
    """A schedule in progress: `due_ns` says when the next step is due, `carry_out` does it. Pure but for its arguments.

    `base_one_way_ms` is the bare path of every pair, taken off each link, as `Network.shape` does.
    """

    def __init__(
        self,
        schedule: LinkSchedule,
        base_one_way_ms: Mapping[Pair, float],
        start_ns: int,
        prepare: Callable[[Sequence[Link]], Callable[[], None]],
        clock: Callable[[], int],
    ) -> None:
        """`prepare` as Fabric.prepare."""
        self.log: list[Applied] = []
        self._steps = self._without_base(schedule, base_one_way_ms)
        self._start_ns = start_ns
        self._prepare = prepare
        self._clock = clock
        self._next = self._prepared()

    @property
    def due_ns(self) -> int | None:
        """None: nothing is left to do."""
        return None if self._next is None else self._start_ns + self._next.step.at_ns

    def carry_out(self) -> None:
        """The step that is due; then prepares the one after it."""
        if self._next is None or self.due_ns is None:
            return
        started_ns = self._clock()
        self._next.bring_into_force()
        self.log.append(Applied(self.due_ns, started_ns, self._clock(), len(self._next.step.links)))
        self._next = self._prepared()

    def _prepared(self) -> _Prepared | None:
        step = next(self._steps, None)
        return None if step is None else _Prepared(step, self._prepare(step.links))

    @staticmethod
    def _without_base(schedule: LinkSchedule, base_one_way_ms: Mapping[Pair, float]) -> Iterator[Step]:
        for step in schedule.steps():
            yield Step(step.at_ns, tuple(without_base(link, base_one_way_ms) for link in step.links))


def without_base(link: Link, base_one_way_ms: Mapping[Pair, float]) -> Link:
    """What a fabric must add for packets to experience the link; BadInput where the bare path alone takes longer."""
    base = base_one_way_ms[link.src, link.dst]
    if link.one_way_ms < base:
        asked = f"{link.src} -> {link.dst} asks for {link.one_way_ms:.3f} ms one way"
        raise BadInput(f"network: {asked}, but the bare path takes {base:.3f} ms; ask for more")
    return replace(link, one_way_ms=link.one_way_ms - base)
