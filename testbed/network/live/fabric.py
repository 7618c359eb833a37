"""A fabric whose links change while a run goes on, in its own process: the engine's end of `process`.

Why a process: a thread of the engine would share its interpreter lock with whatever draws progress at that moment, at
ordinary priority; measured in docs/performance.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

from testbed.errors import RunInvalid
from testbed.network.live.replay import Applied
from testbed.network.spec.fabric import Counters, FabricDied, FabricName, Link, Pair, Port
from testbed.network.spec.schedule import LinkSchedule
from testbed.system.helper import HelperProcess
from testbed.system.journal import Journal

STOP_PATIENCE_S = 8.0  # of a guest kernel that must be ended by force, and some


class LiveFabric:
    """A fabric (see `Fabric`) that lives in its own process; every call is carried there and answered."""

    def __init__(
        self, name: FabricName, run_id: str, journal: Journal, clock: str | None = None, dilation: float = 1.0
    ) -> None:
        self._clock = [] if clock is None else [clock, dilation]
        self.name = name
        self._run_id = run_id
        self._journal = journal
        self._helper: HelperProcess | None = None
        self._connection: Connection[Any, Any] | None = None

    def attach(self, ports: Sequence[Port]) -> None:
        self._connection, theirs = Pipe()
        descriptor = theirs.fileno()
        self._helper = HelperProcess(
            "testbed.network.live.process",
            *(descriptor, self.name, self._run_id, self._journal.path, *self._clock),
            journal=self._journal,
            speaks=False,
            pass_fds=[descriptor],
        )
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
        if self._helper is None:
            return None
        try:
            return self._ask("died")  # type: ignore[no-any-return]
        except RunInvalid:
            return self._how_it_ended()

    def replay(self, schedule: LinkSchedule, base_one_way_ms: Mapping[Pair, float], start_ns: int) -> None:
        """Carries out the schedule from `start_ns` of the run's clock on, until `stop_replay`."""
        self._ask("replay", schedule, dict(base_one_way_ms), start_ns)

    def stop_replay(self) -> list[Applied]:
        """Leaves the links as they are; returns the steps that were carried out. Raises what a step raised."""
        return self._ask("stop_replay")  # type: ignore[no-any-return]

    def detach(self) -> None:
        helper, self._helper = self._helper, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()  # its end is the order to detach and to end
        if helper is not None:
            helper.end(STOP_PATIENCE_S)

    def _how_it_ended(self) -> str:
        """Of the process, whose connection has ended."""
        assert self._helper is not None
        return f"the process that updates its links {self._helper.ended(STOP_PATIENCE_S) or 'does not reply'}"

    def _ask(self, verb: str, *arguments: object) -> Any:
        if self._connection is None:
            raise RuntimeError(f"the {self.name} fabric is not attached")
        try:
            self._connection.send((verb, arguments))
            succeeded, answer = self._connection.recv()
        except (OSError, EOFError) as error:
            raise FabricDied(f"fabric {self.name}: {self._how_it_ended()}") from error
        if not succeeded:
            raise answer
        return answer
