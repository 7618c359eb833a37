"""The process that holds a fabric whose links change: `python -m testbed.network.live.process FD FABRIC RUN JOURNAL`.

One loop: it sleeps until the next step of a replay or the next call, whichever is first. From its first replay on it
has real-time priority where allowed, below the shaper's own. Its connection's end is the order to detach and to end,
whatever became of the engine.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from testbed.clock.api import NEVER, Clock
from testbed.clock.page import taking_part
from testbed.clock.waiting import HANDLING_NS, left_s
from testbed.errors import TestbedError
from testbed.network.fabrics import make_fabric
from testbed.network.live.replay import Applied, Replay
from testbed.network.spec.fabric import Fabric
from testbed.system.journal import Journal
from testbed.system.linux import precise_timers

PRIORITY = 8  # SCHED_FIFO: above node programs (5), below the shaper (10), which must not wait for a change
OF_THE_FABRIC = frozenset({"attach", "shape", "change", "read_back", "counters"})


class Server:
    """Answers calls about one fabric, and carries out a replay in between."""

    def __init__(self, fabric: Fabric, clock: Clock) -> None:
        self.clock = clock
        self.fabric = fabric
        self.replay: Replay | None = None
        self._priority = "SCHED_OTHER"
        self._failure: Exception | None = None  # of a step; the replay ends there

    def due_ns(self) -> int | None:
        return None if self.replay is None or self._failure is not None else self.replay.due_ns

    def carry_out(self) -> None:
        assert self.replay is not None
        try:
            self.replay.carry_out()
        except Exception as failure:  # whatever it is, the engine is told, and ends the run
            self._failure = failure

    def answer(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        if verb in OF_THE_FABRIC:
            return getattr(self.fabric, verb)(*arguments)
        if verb == "facts":
            return {**self.fabric.facts(), "replay_priority": self._priority}
        if verb == "died":
            return f"a change of its links failed: {self._failure}" if self._failure else self.fabric.died()
        if verb == "replay":
            return self._start(*arguments)
        assert verb == "stop_replay"
        return self._stop()

    def _start(self, schedule: Any, base_one_way_ms: Any, start_ns: int) -> None:
        self._priority = take_precedence()
        self._failure = None
        self.replay = Replay(schedule, base_one_way_ms, start_ns, self.fabric.prepare, self.clock.now_ns)
        gc.disable()  # a collection, some 25 ms, would only be a late step; so would one here, of the first

    def _stop(self) -> list[Applied]:
        replay, self.replay = self.replay, None
        gc.enable()
        if self._failure is not None:
            raise self._failure
        return [] if replay is None else replay.log


def take_precedence() -> str:
    """Timer slack and priority of this process, as far as the machine allows; says which priority it got."""
    precise_timers()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except PermissionError:
        return "SCHED_OTHER"
    return f"SCHED_FIFO {PRIORITY}"


def serve(connection: Connection[Any, Any], server: Server) -> None:
    while True:
        due_ns = server.due_ns()
        server.clock.set_barrier(NEVER if due_ns is None else due_ns + HANDLING_NS)
        wait_s = None if due_ns is None else left_s(server.clock, due_ns)
        # select, because poll and epoll as Python offers them round the wait up to whole milliseconds
        asked = select.select([connection], (), (), wait_s)[0]
        if due_ns is not None and server.clock.now_ns() >= due_ns:
            server.carry_out()
        if not asked:
            continue
        try:
            verb, arguments = connection.recv()
        except (EOFError, ConnectionResetError):  # the latter where the last answer was not read any more
            return
        try:
            reply = True, server.answer(verb, arguments)
        except TestbedError as error:
            reply = False, error
        try:
            connection.send(reply)
        except (BrokenPipeError, ConnectionResetError):
            return


def main(
    descriptor: int, fabric: Any, run_id: str, journal: str, clock: str | None = None, dilation: str = "1"
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    made = make_fabric(fabric, run_id, Journal(Path(journal), holder=False), clock, float(dilation))
    server = Server(made, taking_part(clock, "changes of links"))
    try:
        serve(Connection(descriptor), server)
    finally:
        server.fabric.detach()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
