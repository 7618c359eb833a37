"""The in-run probe: measures the used links while a run goes on, sparsely enough that the run does not notice.

Rule kept: the rate is bounded over all pairs together, so a large network is probed less often and never slowed down.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from testbed.errors import MachineCannot, RunInvalid
from testbed.network.measure.probe import PORT_NUMBER
from testbed.network.spec.fabric import Pair, Port
from testbed.system.environment import of_programs
from testbed.system.journal import Journal
from testbed.system.processes import ending, ending_with_this
from testbed.system.waiting import readable

PER_PAIR_PER_S = 5.0
TOGETHER_PER_S = 100.0  # four packets' handling each: half a per cent of what the slowest fabric carries
START_PATIENCE_S = 20.0
ANSWER_PATIENCE_S = 20.0


class Probe(NamedTuple):
    """One packet and its echo; `sent_ns` on CLOCK_MONOTONIC, delays None where one was lost."""

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

    def __init__(self, ports: Sequence[Port], pairs: Sequence[Pair], journal: Journal, log: Path) -> None:
        index = {port.node: number for number, port in enumerate(ports)}
        question = {
            "nodes": [{"address": port.address, "pid": port.pid} for port in ports],
            "pairs": [[index[src], index[dst]] for src, dst in pairs],
            "port": PORT_NUMBER,
            "interval_ns": int(interval_s(len(pairs)) * 1e9),
            "log": str(log.absolute()),
        }
        self.strange = 0  # packets that were not of this watch; known with its results
        self._pairs = list(pairs)
        self._log = log
        self._process = subprocess.Popen(
            ending_with_this("testbed.network.measure.watch_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**of_programs(os.environ), **journal.environment, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,  # an interrupt at the terminal is the parent's to answer
        )
        journal.group(self._process.pid)
        try:
            self._begin(question)
        except BaseException:
            self.close()
            raise

    def stop_sending(self) -> None:
        """What is under way may still arrive, until `results`."""
        self._say("\n")

    def results(self) -> Iterator[Probe]:
        """Every probe so far, in the order of sending; ends the process and removes its file."""
        try:
            answer, complaint = self._process.communicate(timeout=ANSWER_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise RunInvalid(f"in-run probe: no reply for {ANSWER_PATIENCE_S:.0f} s") from None
        if self._process.returncode:
            raise RunInvalid(f"in-run probe: {self._why(complaint)}")
        count, self.strange = map(int, answer.split())
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
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def _begin(self, question: dict[str, object]) -> None:
        self._say(json.dumps(question) + "\n")
        assert self._process.stdout is not None
        if not readable(self._process.stdout.fileno(), START_PATIENCE_S):
            raise RunInvalid(f"in-run probe: not ready within {START_PATIENCE_S:.0f} s")
        if self._process.stdout.readline() != "ready\n":
            _, complaint = self._process.communicate()
            if self._process.returncode < 0:
                raise RunInvalid(f"in-run probe: {self._why(complaint)}")
            raise MachineCannot(f"in-run probe: {self._why(complaint)}; see testbed doctor, or use --no-probe")

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            _, complaint = self._process.communicate()
            raise RunInvalid(f"in-run probe: {self._why(complaint)}") from None

    def _why(self, complaint: str) -> str:
        """What the process said last, or how it ended."""
        said = complaint.strip().splitlines()
        return said[-1] if said else f"its process {ending(self._process.wait())}"
