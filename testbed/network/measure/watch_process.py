"""The measuring process of `watch`: few probes, from its own loop, for as long as a phase of a run takes.

Sockets, packets and clocks are those of `probe_process`. Standard input: the question in one JSON line, then a line
when no more probes are to leave, then its end. Standard output: a line when it is ready and, at the end, how many
probes were sent and how many packets belonged to no probe. Every probe is a line of the file `log`, in the order of
sending, as [pair, sent_ns, forward_ns, backward_ns]; sent by the run's clock, null for what never came.
"""

from __future__ import annotations

import gc
import heapq
import json
import select
import socket
import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from testbed.clock.api import WALL, Clock
from testbed.clock.page import taking_part
from testbed.clock.waiting import left_s
from testbed.network.measure.probe_process import Stamps, Strange, be_prompt, new_token, replies, request, socket_in
from testbed.system.rights import give_up

LATEST_NS = 120 * 1_000_000_000  # what has not come back for so long is lost
FLUSH_PROBES = 500  # of these at once go to the file; some 30 kB, 50 us

GOLDEN = 0.6180339887498949  # its multiples, whole turns apart, spread more evenly than any other number's


class Prober:
    """Sends on schedule, echoes and books what comes. Pairs are (source, destination) by position of their nodes."""

    def __init__(
        self, question: dict[str, Any], sockets: list[socket.socket], log: TextIO, clock: Clock = WALL
    ) -> None:
        self.clock = clock
        self.stamps = Stamps(clock)
        self.sent = 0
        self._log = log
        self._open: OrderedDict[int, list[int | None]] = OrderedDict()  # by number, what is not in the file yet
        self._over: list[str] = []  # lines
        self._pairs: list[tuple[int, int]] = [(src, dst) for src, dst in question["pairs"]]
        self._addresses = [(node["address"], question["port"]) for node in question["nodes"]]
        self._sockets = sockets
        self._interval_ns: int = question["interval_ns"]
        self._sources = [self._addresses[src] for src, _ in self._pairs]
        self._token = new_token()
        self.strange = Strange()
        self._start_ns = clock.now_ns()
        self._due = [(self._at(pair, 0), pair, 0) for pair in range(len(self._pairs))]
        heapq.heapify(self._due)

    def due_ns(self) -> int:
        return self._due[0][0]

    def send(self, now_ns: int) -> None:
        """The probe that is due; those that were slept through are left out, not made up for."""
        _, pair, turn = self._due[0]
        turn = max(turn, (now_ns - self._start_ns) // self._interval_ns)
        heapq.heapreplace(self._due, (self._at(pair, turn + 1), pair, turn + 1))
        src, dst = self._pairs[pair]
        packet = partial(request, self._token, pair, self.sent)
        now_ns = self.stamps.send(self._sockets[src], packet, self._addresses[dst])
        self._open[self.sent] = [pair, now_ns, None, None]
        self.sent += 1
        self._settle(now_ns - LATEST_NS)
        if len(self._over) >= FLUSH_PROBES:
            self._flush()

    def finish(self) -> None:
        """Everything goes to the file, whatever may still come."""
        self._settle(None)
        self._flush()

    def _settle(self, lost_ns: int | None) -> None:
        """Takes out the oldest probes that are back, or were sent before `lost_ns`; None: all."""
        while self._open:
            number, probe = next(iter(self._open.items()))
            _, sent_ns, _, backward_ns = probe
            assert sent_ns is not None
            if backward_ns is None and lost_ns is not None and sent_ns >= lost_ns:
                return
            del self._open[number]
            self._over.append(json.dumps(probe))

    def _flush(self) -> None:
        self._log.writelines(f"{line}\n" for line in self._over)
        self._log.flush()
        self._over.clear()

    def _at(self, pair: int, turn: int) -> int:
        """Once an interval, at another moment of each: a fixed one could fall in step with a series of that rate."""
        share = (turn * GOLDEN + pair / len(self._pairs)) % 1.0
        return self._start_ns + int((turn + share) * self._interval_ns)

    def receive(self, sock: socket.socket) -> None:
        """Everything that waits on one socket."""
        for _, number, forward_ns, backward_ns in replies(sock, self._token, self._sources, self.strange, self.stamps):
            if number in self._open:
                self._open[number][2:] = [forward_ns, backward_ns]


def run(prober: Prober, sockets: list[socket.socket]) -> None:
    """Until standard input ends; sends until its first line."""
    by_descriptor = {sock.fileno(): sock for sock in sockets}
    steering = sys.stdin.fileno()
    sending = True
    while True:
        wait_s = left_s(prober.clock, prober.due_ns()) if sending else None
        # select, because poll and epoll as Python offers them round the wait up to whole milliseconds
        ready = select.select([steering, *by_descriptor], (), (), wait_s)[0]
        for descriptor in ready:
            if descriptor != steering:
                prober.receive(by_descriptor[descriptor])
            elif sys.stdin.readline():
                sending = False
            else:
                return
        if sending and (now_ns := prober.clock.now_ns()) >= prober.due_ns():
            prober.send(now_ns)


def main() -> None:
    question = json.loads(sys.stdin.readline())
    sockets = [socket_in(node["pid"], node["address"], question["port"]) for node in question["nodes"]]
    be_prompt()
    clock = taking_part(question["clock"], "in-run probe")
    give_up()
    gc.disable()
    print("ready", flush=True)
    with Path(question["log"]).open("w") as log:
        prober = Prober(question, sockets, log, clock)
        run(prober, sockets)
        prober.finish()
    print(prober.sent, prober.strange.count)


if __name__ == "__main__":
    main()
