"""Works on many items in separate processes, and yields each result as it comes.

Rule kept: an interrupt may come at any instant and still ends everything at once. The executors of the standard library
cannot guarantee that: an interrupt raised while one of their locks is taken leaves it taken, and a worker killed while
it answers leaves their reader waiting for the rest. Here one thread waits on one pipe a worker, holds no lock, and may
stop reading anywhere. A worker never outlives the process that started it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from testbed.errors import MachineCannot
from testbed.system.interrupt import shielded

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Raised:
    """What the work raised instead of giving a result."""

    error: Exception


def results(
    items: Sequence[Item], make: Callable[[], Callable[[Item], Result]], processes: int, what: str
) -> Iterator[Result]:
    """In the order in which they are finished. `make` is called once in each process and gives what does the work.

    With one process, or one item, everything is done here. Raises what the work raises, and MachineCannot where a
    worker was killed; `what` says what it did.
    """
    if min(processes, len(items)) <= 1:
        work = make()
        yield from map(work, items)
        return
    left = deque(items)
    workers: dict[Connection, SpawnProcess] = {}
    try:
        with shielded():  # a process that is being started belongs to nobody yet
            for _ in range(min(processes, len(left))):
                workers.update([_start(make)])
        working = list(workers)
        for pipe in working:
            _hand(pipe, left.popleft(), what)
        while working:
            ready = wait(working)
            for pipe in [one for one in working if one in ready]:
                result = _take(pipe, what)
                if left:
                    _hand(pipe, left.popleft(), what)
                else:
                    working.remove(pipe)
                yield result
    finally:
        with shielded():
            for process in workers.values():
                process.terminate()
            for pipe, process in workers.items():
                process.join()
                pipe.close()


def _start(make: Callable[[], Callable[[Any], Any]]) -> tuple[Connection, SpawnProcess]:
    """Started anew, not forked, so that no thread or lock of this process is copied half-way."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _hand(pipe: Connection, item: object, what: str) -> None:
    try:
        pipe.send(item)
    except (BrokenPipeError, ConnectionResetError):
        raise _killed(what) from None


def _take(pipe: Connection, what: str) -> Any:
    try:
        result = pipe.recv()
    except (EOFError, ConnectionResetError):
        raise _killed(what) from None
    if isinstance(result, _Raised):
        raise result.error
    return result


def _killed(what: str) -> MachineCannot:
    return MachineCannot(
        f"a process that {what} was killed, perhaps for lack of memory; run the same command with fewer --workers: "
        "finished points are not repeated"
    )


def _serve(pipe: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """A worker's whole life; ended by the process that started it, or with it."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to all; the starter decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = make()
    while True:
        item = pipe.recv()
        try:
            result = work(item)
        except Exception as error:
            error.add_note(traceback.format_exc())  # its traceback does not travel
            result = _Raised(error)
        pipe.send(result)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
