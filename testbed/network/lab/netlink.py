"""Inside the lab's guest: carries netlink requests to the guest's kernel, `netlink.py FD`, an open serial line.

Started with nothing but the standard library, as starting is slow in there. Requests come as files, because a serial
line of a User-Mode Linux kernel stalls for good when more than 4 KB wait in it; only the answers worth a look go back.

    load FILE    FILE: `RESET_BYTES POSITION,...`, a line end, and netlink messages; see RouteSocket.prepare. No answer
    go           carries out what was loaded last
    dump         all queues

Each answer is its own line, `POSITION MESSAGE` in base64 or `POSITION !ERRNO TEXT`; POSITION is -1 when
it was not one of the requests that failed. `===` ends the answers, and comes once at the start.
"""

from __future__ import annotations

import binascii
import gc
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence

from testbed.system.netlink import Answer, Refusal, RouteSocket, messages

END = "==="
WHOLE = -1  # in the place of a position: the exchange as a whole failed
READ_BYTES = 1 << 18


def write_requests(requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]) -> bytes:
    """The contents of FILE."""
    return b"%d %s\n" % (reset_bytes, ",".join(map(str, sorted(wanted))).encode()) + b"".join(requests)


def read_requests(data: bytes) -> tuple[list[bytes], int, set[int]]:
    head, _, rest = data.partition(b"\n")
    reset_bytes, _, wanted = head.partition(b" ")
    requests = [message for _, _, _, message in messages(rest)]
    return requests, int(reset_bytes), {int(position) for position in wanted.split(b",") if position}


def write_answer(position: int, answer: Answer) -> str:
    if isinstance(answer, Refusal):
        return f"{position} !{answer.number} {answer.text}\n"
    return f"{position} {binascii.b2a_base64(answer, newline=False).decode()}\n"


def read_answer(line: str) -> tuple[int, Answer]:
    position, _, rest = line.partition(" ")
    if rest.startswith("!"):
        number, _, text = rest[1:].partition(" ")
        return int(position), Refusal(int(number), text)
    return int(position), binascii.a2b_base64(rest)


class Commands:
    """What the lines ask for, of one socket."""

    def __init__(self, route: RouteSocket) -> None:
        self._route = route
        self._go: Callable[[], Mapping[int, Answer]] | None = None
        self._failure: Exception = ValueError("nothing was loaded")

    def obey(self, command: str) -> list[str]:
        """The answer lines to one command; whatever goes wrong is one of them, so that the guest lives on."""
        verb, _, path = command.partition(" ")
        if verb == "load":
            self._load(path)
            return []
        try:
            answers = self._gone() if verb == "go" else dict(enumerate(self._route.dump_qdiscs()))
        except (OSError, ValueError) as error:  # such as a datagram that the kernel would not take
            answers = {WHOLE: Refusal(getattr(error, "errno", None) or 0, str(error))}
        return [*(write_answer(position, answer) for position, answer in answers.items()), END + "\n"]

    def _load(self, path: str) -> None:
        try:
            self._go = self._route.prepare(*read_requests(_contents(path)))
        except (OSError, ValueError) as error:  # for whoever says go
            self._go, self._failure = None, error

    def _gone(self) -> Mapping[int, Answer]:
        if self._go is None:
            raise self._failure
        return self._go()


def _contents(path: str) -> bytes:
    """In few system calls, which take 30 us each in here; pathlib makes eight."""
    descriptor = os.open(path, os.O_RDONLY)
    parts = []
    while part := os.read(descriptor, READ_BYTES):
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts)


def main(line: int) -> None:
    gc.disable()  # nothing here makes cycles; a collection would only be a pause
    commands = Commands(RouteSocket())
    with os.fdopen(os.dup(line), "rb") as asked, os.fdopen(line, "w", buffering=1 << 16) as answers:
        answers.write(END + "\n")
        answers.flush()
        for command in asked:
            answers.writelines(commands.obey(command.decode().rstrip("\n")))
            answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
