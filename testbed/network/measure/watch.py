"""The in-run probe: measures the used links while a run goes on, sparsely enough that the run does not notice.

Rule kept: the rate is bounded over all pairs together, so a large network is probed less often and never slowed down.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from testbed.errors import MachineCannot, RunInvalid
from testbed.network.measure.probe import PORT_NUMBER
from testbed.network.spec.fabric import Pair, Port
from testbed.system.helper import HelperEnded, HelperProcess, HelperSilent
from testbed.system.journal import Journal

PER_PAIR_PER_S = 5.0
TOGETHER_PER_S = 100.0  # four packets' handling each: half a per cent of what the slowest fabric carries
START_PATIENCE_S = 20.0
ANSWER_PATIENCE_S = 20.0
END_PATIENCE_S = 1.0


class Probe(NamedTuple):
    """One packet and its echo; `sent_ns` on the run's clock, delays None where one was lost."""

    src: str
    dst: str
    sent_ns: int
    forward_ns: int | None
    backward_ns: int | None


def interval_s(pairs: int) -> float:
    """Between two probes of one pair."""
    return max(1 / PER_PAIR_PER_S, pairs / TOGETHER_PER_S)


class Watch:
    """Probes `pairs`, one direction each as a probe comes back, from the start until `stop_sending`. Use once.

    Probes go to the file `log` as they end, so that a long phase costs no memory.
    """

    def __init__(
        self, ports: Sequence[Port], pairs: Sequence[Pair], journal: Journal, log: Path, clock: str | None = None
    ) -> None:
        index = {port.node: number for number, port in enumerate(ports)}
        question = {
            "nodes": [{"address": port.address, "pid": port.pid} for port in ports],
            "pairs": [[index[src], index[dst]] for src, dst in pairs],
            "port": PORT_NUMBER,
            "interval_ns": int(interval_s(len(pairs)) * 1e9),
            "log": str(log.absolute()),
            "clock": clock,
        }
        self.strange = 0  # packets that were not of this watch; known with its results
        self._pairs = list(pairs)
        self._log = log
        self._helper = HelperProcess("testbed.network.measure.watch_process", journal=journal, tied=True)
        try:
            self._begin(question)
        except BaseException:
            self.close()
            raise

    def stop_sending(self) -> None:
        """What is under way may still arrive, until `results`."""
        try:
            self._helper.send(b"\n")
        except HelperEnded as end:
            raise RunInvalid(f"in-run probe: {end}") from None

    def results(self) -> Iterator[Probe]:
        """Every probe so far, in the order of sending; ends the process and removes its file."""
        try:
            count, self.strange = map(int, self._helper.rest(ANSWER_PATIENCE_S).split())
        except (HelperSilent, HelperEnded) as error:
            raise RunInvalid(f"in-run probe: {error}") from None
        read = 0
        with self._log.open() as lines:
            for line in lines:
                pair, sent_ns, forward_ns, backward_ns = json.loads(line)
                src, dst = self._pairs[pair]
                yield Probe(src, dst, sent_ns, forward_ns, backward_ns)
                read += 1
        if read != count:
            raise RunInvalid(f"in-run probe: {self._log} holds {read} of the {count} probes sent")
        self._log.unlink()

    def close(self) -> None:
        """Safe at any moment, more than once."""
        self._helper.end(END_PATIENCE_S)

    def _begin(self, question: dict[str, object]) -> None:
        try:
            self._helper.send(json.dumps(question).encode() + b"\n")
            self._helper.lines(1, START_PATIENCE_S)  # it is ready
        except HelperSilent:
            raise RunInvalid(f"in-run probe: not ready within {START_PATIENCE_S:.0f} s") from None
        except HelperEnded as end:
            if end.status < 0:
                raise RunInvalid(f"in-run probe: {end}") from None
            raise MachineCannot(f"in-run probe: {end}; see testbed doctor, or use --no-probe") from None
