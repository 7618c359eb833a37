"""Changes the links while a run goes on: a fabric in a process of its own, which also carries out a schedule's steps.

Rules kept: every step has an absolute deadline counted from one start, so lateness never adds up; the next step is
ready before the process sleeps; scheduled and actual time of every step are recorded. A thread of the engine would
share its interpreter lock with whatever draws progress at that moment, at ordinary priority; measured in
docs/performance.md.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from typing import Any, NamedTuple

from testbed.errors import BadInput, MachineCannot
from testbed.network.fabric import Counters, FabricName, Link, Port
from testbed.network.journal import Journal
from testbed.network.schedule import LinkSchedule, Pair, Step

STOP_PATIENCE_S = 8.0  # of a guest kernel that must be ended by force, and some


class Applied(NamedTuple):
    """One step as it happened: CLOCK_MONOTONIC in ns. From `applied_ns` on all its links were as scheduled."""

    scheduled_ns: int
    started_ns: int
    applied_ns: int
    links: int


class _Prepared(NamedTuple):
    step: Step
    bring_into_force: Callable[[], None]


class Replay:
    """A schedule on its way: `due_ns` says when the next step is due, `carry_out` does it. Pure but for its arguments.

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


class LiveFabric:
    """A fabric (see `Fabric`) that lives in `replay_process`; every call is carried there and answered."""

    def __init__(self, name: FabricName, run_id: str, journal: Journal) -> None:
        self.name = name
        self._run_id = run_id
        self._journal = journal
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    def attach(self, ports: Sequence[Port]) -> None:
        self._connection, theirs = Pipe()
        descriptor = theirs.fileno()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "testbed.network.replay_process"),
                *(str(descriptor), self.name, self._run_id, str(self._journal.path)),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[descriptor],
            env={**os.environ, **self._journal.environment},
            start_new_session=True,  # an interrupt at the terminal is the parent's to answer
        )
        self._journal.group(self._process.pid)
        theirs.close()
        try:
            self._ask("attach", list(ports))
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        self._ask("shape", list(links))

    def change(self, links: Sequence[Link]) -> None:
        self._ask("change", list(links))

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        """Nothing is done ahead for calls from outside; the steps of a replay are prepared where they are due."""
        return functools.partial(self.change, links)

    def read_back(self) -> dict[Pair, float]:
        return self._ask("read_back")  # type: ignore[no-any-return]

    def counters(self) -> Counters:
        return self._ask("counters")  # type: ignore[no-any-return]

    def facts(self) -> dict[str, object]:
        """The fabric's own, and the priority of the process that changes it."""
        return self._ask("facts")  # type: ignore[no-any-return]

    def died(self) -> str | None:
        status = self._process.poll() if self._process else None
        if status is not None:
            return f"the process that changes its links ended with status {status}"
        return self._ask("died")  # type: ignore[no-any-return]

    def replay(self, schedule: LinkSchedule, base_one_way_ms: Mapping[Pair, float], start_ns: int) -> None:
        """Carries out the schedule from `start_ns` (CLOCK_MONOTONIC) on, until `stop_replay`."""
        self._ask("replay", schedule, dict(base_one_way_ms), start_ns)

    def stop_replay(self) -> list[Applied]:
        """Leaves the links as they are; returns the steps that were carried out. Raises what a step raised."""
        return self._ask("stop_replay")  # type: ignore[no-any-return]

    def detach(self) -> None:
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()  # its end is the order to detach and to end
        if process is None:
            return
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _ask(self, verb: str, *arguments: object) -> Any:
        if self._connection is None:
            raise RuntimeError(f"the {self.name} fabric is not attached")
        try:
            self._connection.send((verb, arguments))
            succeeded, answer = self._connection.recv()
        except (OSError, EOFError) as error:
            raise MachineCannot(
                f"{self.name}: the process that changes its links has ended; see its output above"
            ) from error
        if not succeeded:
            raise answer
        return answer
