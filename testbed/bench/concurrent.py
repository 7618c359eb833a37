"""`python -m testbed.bench concurrent --minutes 10 --seed S [--emulated]`: runs, cleans and starts beside each other.

All at the same time and into one folder: simulations of two experiments (so of one run several attempts), attempts that
write a journal and make what it names, `testbed clean`, `testbed runs prune`, and with `--emulated` emulated runs; of
all but the last two some are killed with SIGKILL at a random moment. It is passed when

* nothing is lost: runs that were not killed ended well, every run has its own complete directory with the bytes
  that one seed gives (invariant 3), and `latest` points at a whole one;
* nothing is left: after one last clean and prune neither journals nor folders nor unfinished runs nor scraps (5).

`--emulated` needs what `testbed run` needs, and the user's own state; without it everything is in a scratch folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path

import yaml

from testbed.bench.forked import SMALL, Quiet, forked, scratch
from testbed.containers.removal import remove_named
from testbed.errors import BadInput, RunInvalid
from testbed.experiment.document import load_scenario
from testbed.files.datafiles import available
from testbed.files.whole import REPLACING
from testbed.report import page  # noqa: F401  # here, or every fork would import it
from testbed.results import attempts
from testbed.results.rundir import new_attempt
from testbed.results.store import FILES
from testbed.simulation import engine as simulation
from testbed.system.cleaning import clean
from testbed.system.interrupt import taking_down
from testbed.system.journal import JOURNAL_NAME, Journal, state_dir

KINDS = ("simulation", "simulation", "simulation", "start", "start", "clean", "clean", "prune")  # at a time
KILLED = {"simulation": 0.3, "start": 0.5, "emulation": 0.5}  # share
LIFE_S = {"simulation": 2.0, "start": 0.02, "emulation": 60.0}  # until when the killed ones are killed
LOOK_S = 0.005
HELD_S = 0.005  # by an attempt with its journal
EXPERIMENTS = ("left", "right")
EMULATED = ("quickstart", "workload.requests=2", "workload.output_tokens=10")
EMULATED_STATUSES = (0, 3, 4)  # on a machine with all this going on links are late, and one emulation goes at a time


@dataclass
class Counts:
    """What happened, by kind, and what should not have: a line each."""

    ended: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass
class Slot:
    """One process at a time of a kind."""

    kind: str
    process: ForkProcess | subprocess.Popen[bytes]
    kill_at: float | None

    def status(self) -> int | None:
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode


class Trial:
    """One folder of runs, one of state, and who works there."""

    def __init__(self, folder: Path, state: Path, seed: int, emulated: bool) -> None:
        self.out, self._state, self._made = folder / "runs", state, folder / "made"
        self._folder, self._chance, self._numbers = folder, random.Random(seed), itertools.count()
        self._kinds = (*KINDS, *(("emulation",) if emulated else ()))
        self._said = folder / "said"
        self.counts = Counts()
        for one in (self.out, self._made, state):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        for seed_, name in enumerate(EXPERIMENTS):
            self._file(name).write_text(yaml.safe_dump({"name": name, **SMALL, "seed": seed_}, sort_keys=False))

    def run(self, seconds: float) -> Counts:
        end = time.monotonic() + seconds
        slots: list[Slot] = []
        try:
            slots += [self._start(kind) for kind in self._kinds]
            while slots:
                time.sleep(LOOK_S)
                for slot in list(slots):
                    if slot.status() is None and slot.kill_at is not None and time.monotonic() > slot.kill_at:
                        slot.process.kill()
                    if slot.status() is not None:
                        self._over(slot)
                        slots.remove(slot)
                        if time.monotonic() < end:
                            slots.append(self._start(slot.kind))
        finally:
            with taking_down():
                for slot in slots:
                    slot.process.kill()
        self._judge()
        return self.counts

    def _start(self, kind: str) -> Slot:
        number = next(self._numbers)
        process: ForkProcess | subprocess.Popen[bytes]
        if kind == "simulation":
            process = forked(simulate, self._file(self._chance.choice(EXPERIMENTS)), self.out)
        elif kind == "start":
            process = forked(start, self._state, self._made, number)
        elif kind == "clean":
            process = forked(clean_once, self._state)
        elif kind == "prune":
            process = forked(prune_once, self.out)
        else:
            path, *overrides = EMULATED
            command = [sys.executable, "-m", "testbed", "run", str(available("experiments", ".yaml")[path]), *overrides]
            with self._said.open("ab") as said:
                process = subprocess.Popen(
                    [*command, "--fabric", "relay", "--out", str(self.out)], stdout=said, stderr=said
                )
        chosen = self._chance.random() < KILLED.get(kind, 0)
        return Slot(kind, process, time.monotonic() + self._chance.uniform(0, LIFE_S[kind]) if chosen else None)

    def _over(self, slot: Slot) -> None:
        status = slot.status()
        fine = EMULATED_STATUSES if slot.kind == "emulation" else (0,)
        if status is not None and status < 0 and slot.kill_at is not None:
            self.counts.killed[slot.kind] += 1
        elif status in fine:
            self.counts.ended[slot.kind if status != 4 else "emulation refused"] += 1
        else:
            self.counts.lost.append(f"a {slot.kind} ended with status {status}")

    def _judge(self) -> None:
        """After a last clean and prune, which disturb no running process."""
        lost, left = self.counts.lost, self.counts.left
        left += clean(remove_named, self._state).failed
        clean(remove_named, self._state)
        for one in attempts.unfinished(self.out):
            attempts.prune(one)
        found = attempts.find(self.out)
        left += [f"{one.path.name} is {one.state}" for one in found if one.state != "finished"]
        left += [f"{path}" for path in self.out.rglob(".*") if path.is_file() and REPLACING.fullmatch(path.name)]
        left += [f"journal {path.parent.name}" for path in self._state.glob(f"*/{JOURNAL_NAME}")]
        left += [str(path) for path in self._made.iterdir()]
        by_run: dict[str, list[dict[str, bytes]]] = {}
        for one in found:
            if one.experiment in EXPERIMENTS and one.state == "finished":
                content = {name: (one.path / name).read_bytes() for name in (*FILES, "report.html")}
                by_run.setdefault(one.run_id, []).append(content)
        simulated = sum(map(len, by_run.values()))
        if simulated < self.counts.ended["simulation"]:
            lost.append(f"{self.counts.ended['simulation']} simulations ended well and {simulated} runs are there")
        lost += [f"runs of {run} differ" for run, contents in by_run.items() if any(c != contents[0] for c in contents)]
        latest = (self.out / "latest").resolve()
        if not any(one.path.resolve() == latest and one.state == "finished" for one in found):
            lost.append(f"latest points at {latest.name}, which is not a finished run")

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.yaml"


def simulate(path: Path, out: Path) -> None:
    simulation.run(load_scenario(path, []), simulation.Options(out=out), Quiet())


def start(state: Path, made: Path, number: int) -> None:
    """An attempt that makes a folder and ends in order."""
    journal = Journal(state / new_attempt(f"{number:010}") / JOURNAL_NAME)
    folder = made / str(number)
    journal.directory(folder)
    folder.mkdir()
    time.sleep(HELD_S)
    if len(journal.entries()) != 2 or not folder.is_dir():
        raise RuntimeError(f"{journal.path}: it was removed although its run is alive")
    journal.undo(remove_named)
    journal.close()


def clean_once(state: Path) -> None:
    if failed := clean(remove_named, state).failed:
        raise RuntimeError("; ".join(failed))


def prune_once(out: Path) -> None:
    for one in attempts.unfinished(out):
        attempts.prune(one)


def whole(minutes: float, seed: int, emulated: bool) -> Counts:
    """One trial in a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="testbed-concurrent-", dir=scratch()) as folder:
        state = state_dir() if emulated else Path(folder) / "state"
        return Trial(Path(folder), state, seed, emulated).run(minutes * 60)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench concurrent", description="runs beside each other")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance")
    parser.add_argument("--emulated", action="store_true", help="emulated runs too")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args(arguments)
    if not 0 < asked.minutes < float("inf"):
        raise BadInput(f"bench concurrent: --minutes {asked.minutes}: more than 0")
    counts = whole(asked.minutes, asked.seed, asked.emulated)
    if asked.json:
        print(json.dumps(vars(counts), indent=2))  # asdict() makes nonsense of a Counter
    else:
        print("\n".join(lines(counts)))
    return 0 if not counts.lost and not counts.left else RunInvalid.exit_code


def lines(counts: Counts) -> Iterator[str]:
    for what, counted in (("ended", counts.ended), ("killed", counts.killed)):
        yield f"{what}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counted.items()))
    for what, found in (("lost", counts.lost), ("left", counts.left)):
        yield f"{what}: {len(found)}"
        yield from (f"  {line}" for line in found[:20])
