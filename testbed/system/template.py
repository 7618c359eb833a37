"""A template of many programs that are alike: what they all import is imported once, and each is a fork of it.

`python -m testbed.system.template FD WARM RIGHTS ROOM` gives up all rights but RIGHTS and what making programs takes,
imports the modules WARM, then makes a program for each order on the socket FD, reports how each ends, and ends itself
when the socket does. An ended program stays a zombie until its end has been acknowledged, so its number is not used
again before.

Rule kept: a fork is like a program started directly. It has its own session, network namespace and standard streams, no
descriptor of the template or of another program, no right beyond those named, and its own command line (written over
ROOM, an argument that reserves the space). It ends with the template.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from testbed.system.netns import join_namespace
from testbed.system.processes import ending_with, ends_with
from testbed.system.rights import give_up

ORDER_BYTES = 1 << 16
ROOM_BYTES = 1 << 13
STREAMS = 3
MOST_DESCRIPTORS = 1 + STREAMS + 1  # a namespace, the streams, one more
READY = b"ready"
NEEDS = ("sys_admin", "setpcap")  # to enter a program's namespace, and to take every right from the program


def room() -> str:
    """The argument that a program's command line is written over."""
    return " " * ROOM_BYTES


class Template:
    """The loop: orders in; programs, and news of their ends, out."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._poller = select.poll()
        self._poller.register(orders, select.POLLIN)
        self._programs: dict[int, int] = {}  # by the pidfd that tells its end
        self._own_line = _own_line()

    def work(self) -> None:
        """Until the other end of the socket is closed."""
        while True:
            for descriptor, _ in self._poller.poll():
                if descriptor in self._programs:
                    self._ended(descriptor)
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        data, descriptors, *_ = socket.recv_fds(self._orders, ORDER_BYTES, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return False
        order = json.loads(data)
        if "acknowledged" in order:
            os.waitpid(order["acknowledged"], 0)
            return True
        try:
            self._tell(self._make(order, descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _make(self, order: Mapping[str, Any], descriptors: Sequence[int]) -> dict[str, object]:
        heard, report = os.pipe()
        template, pid = os.getpid(), os.fork()
        if pid == 0:
            _live(order, template, descriptors, report, self._own_line)
        os.close(report)
        with os.fdopen(heard, "rb") as pipe:
            said = pipe.read()
        pidfd = os.pidfd_open(pid)
        self._programs[pidfd] = pid
        self._poller.register(pidfd, select.POLLIN)
        return {"pid": pid} if said == READY else {"pid": pid, "refused": said.decode(errors="replace")}

    def _ended(self, pidfd: int) -> None:
        self._poller.unregister(pidfd)
        pid = self._programs.pop(pidfd)
        os.close(pidfd)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        self._tell({"ended": pid, "status": found.si_status if found.si_code == os.CLD_EXITED else -found.si_status})

    def _tell(self, what: Mapping[str, object]) -> None:
        self._orders.send(json.dumps(what).encode())


def _live(
    order: Mapping[str, Any], template: int, descriptors: Sequence[int], report: int, own_line: tuple[int, int]
) -> NoReturn:
    """The fork, from its first moment to its last."""
    status = 1
    try:
        report = _arrange(order, template, descriptors, report, own_line)
        module = importlib.import_module(order["module"])
        os.write(report, READY)
        os.close(report)
        report = -1
        sys.argv = [order["module"], *order["arguments"]]
        status = module.main(*order["arguments"])
    except SystemExit as asked:
        status = asked.code if isinstance(asked.code, int) else 1
    except BaseException as error:
        traceback.print_exc()  # into its log
        with contextlib.suppress(OSError):  # nobody asks any more once all is arranged
            os.write(report, f"{type(error).__name__}: {error}".encode())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # an orderly end would run what the template has set up for its own


def _arrange(
    order: Mapping[str, Any], template: int, descriptors: Sequence[int], report: int, own_line: tuple[int, int]
) -> int:
    """Makes a separate program of the fork; returns the new number of `report`."""
    os.setsid()
    wanted = [*range(STREAMS), *([] if order["descriptor"] is None else [order["descriptor"]])]
    above = max(wanted) + 1
    namespace, *streams, report = (fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, above) for one in (*descriptors, report))
    for one, number in zip(streams, wanted, strict=True):
        os.dup2(one, number)
    for number in [int(one.name) for one in Path("/proc/self/fd").iterdir()]:
        if number not in (*wanted, namespace, report):
            with contextlib.suppress(OSError):  # the listing's own
                os.close(number)
    join_namespace(namespace)
    os.close(namespace)
    give_up(order["keep"])
    if not ends_with(template):
        os._exit(0)
    _rename(own_line, ending_with(template, order["module"], *order["arguments"]))
    return report


def _own_line() -> tuple[int, int]:
    """Where this process's command line begins and ends in its memory: proc(5), fields 48 and 49."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[45]), int(fields[46])


def _rename(own_line: tuple[int, int], words: Sequence[str]) -> None:
    """Makes /proc/self/cmdline say these words, as far as there is room."""
    start, end = own_line
    text = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))


def main(descriptor: int, warm: list[str], kept: list[str]) -> int:
    give_up([*NEEDS, *kept])
    for module in warm:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or each fork's first collection would make a copy of everything
    with socket.socket(fileno=descriptor) as orders, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Template(orders).work()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split()))
