"""`python -m testbed.bench sweepkill --count 50 --seed S`: sweeps that are killed again and again, and resumed.

Each trial kills one simulated sweep with SIGKILL at random moments of its life, up to three times, then lets it end.
It is passed when its tables and its facts equal, byte by byte, those of the same sweep when undisturbed, and nothing
unfinished is left in its folder. Every fourth one keeps the logs of its points, so that their folders are in it too.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

import yaml

from testbed.bench.forked import SMALL, Quiet, forked, scratch
from testbed.errors import BadInput, RunInvalid
from testbed.files.whole import REPLACING
from testbed.results.attempts import unfinished
from testbed.sweeps.plan import load_sweep
from testbed.sweeps.run import SweepOptions, run_sweep

MOST_KILLS = 3
LIFE_S = 300.0  # of a sweep, on a busy machine
COMPARED = ("sweep.parquet", "sweep.csv", "sweep.json")
JOURNAL = "points.jsonl"
NAME = "killed"
EXPERIMENT = {
    **SMALL,
    "name": NAME,
    "workload": {"prompts": "made-up", "requests": 4, "output_tokens": 40},
    "matrix": {"network.rtt_ms": [5, 20], "seed": [1, 2, 3, 4, 5, 6]},
}


@dataclass(frozen=True)
class Trial:
    """One sweep. `killed_at` are points in its journal when it was killed; `torn`: journals cut in a line."""

    number: int
    kept_logs: bool
    workers: int
    killed_at: tuple[int, ...]
    torn: int
    differs: tuple[str, ...]  # files that are not what they should be, and what should not be there

    @property
    def passed(self) -> bool:
        return not self.differs


class Sweeps:
    """Sweeps of one experiment into their own folders, and what untouched ones look like."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"{NAME}.yaml"
        self._file.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
        self._expected: dict[bool, dict[str, bytes]] = {}
        self._life_s: dict[bool, float] = {}

    def trial(self, number: int, seed: int) -> Trial:
        chance = random.Random(f"{seed}/{number}")
        # logs take most of a point's time, and their own workers are started anew, with all imports
        kept_logs, workers = number % 4 == 0, 2 if number % 10 == 5 else 1
        expected = self._untouched(kept_logs)
        out = self._folder / f"trial-{number}"
        killed_at: list[int] = []
        torn = 0
        wanted = chance.randint(1, MOST_KILLS)
        while len(killed_at) < wanted:
            process, start = self._start(out, kept_logs, workers), time.monotonic()
            process.join(chance.uniform(0, self._life_s[kept_logs]))
            if process.exitcode is not None:  # before it was to be killed: from the beginning
                if not killed_at:
                    self._life_s[kept_logs] = time.monotonic() - start  # of a whole sweep, as busy as the machine is
                shutil.rmtree(out)
                killed_at.clear()
                torn = 0
                continue
            process.kill()
            process.join()
            journal = out / f"{NAME}-sweep-simulation" / JOURNAL
            content = journal.read_bytes() if journal.exists() else b""
            killed_at.append(content.count(b"\n"))
            torn += bool(content) and not content.endswith(b"\n")
        self._finish(out, kept_logs, workers)
        found = contents(out)
        differs = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
        return Trial(number, kept_logs, workers, tuple(killed_at), torn, (*differs, *scraps(out)))

    def _untouched(self, kept_logs: bool) -> dict[str, bytes]:
        if kept_logs not in self._expected:
            out = self._folder / f"untouched-{kept_logs}"
            start = time.monotonic()
            self._finish(out, kept_logs, workers=1)
            self._life_s[kept_logs] = time.monotonic() - start
            self._expected[kept_logs] = contents(out)
        return self._expected[kept_logs]

    def _finish(self, out: Path, kept_logs: bool, workers: int) -> None:
        process = self._start(out, kept_logs, workers)
        process.join(LIFE_S)
        status = process.exitcode
        process.kill()
        if status != 0:
            raise RunInvalid(f"bench sweepkill: an undisturbed sweep ended with status {status}")

    def _start(self, out: Path, kept_logs: bool, workers: int) -> ForkProcess:
        return forked(_sweep, self._file, SweepOptions(out=out, keep_logs=kept_logs, workers=workers, intervals=False))


def _sweep(file: Path, options: SweepOptions) -> None:
    run_sweep(load_sweep(file), options, Quiet())


def contents(out: Path) -> dict[str, bytes]:
    """The sweep's tables and facts, and every file of the runs it kept."""
    sweep = out / f"{NAME}-sweep-simulation"
    files = [sweep / name for name in COMPARED]
    files += [path for path in sweep.glob("runs/[!.]*/*") if path.is_file()]
    return {str(path.relative_to(sweep)): path.read_bytes() for path in files if path.exists()}


def scraps(out: Path) -> list[str]:
    """Unfinished runs and files."""
    files = [path for path in out.rglob(".*") if path.is_file() and REPLACING.fullmatch(path.name)]
    return [str(path.relative_to(out)) for path in [*files, *(found.path for found in unfinished(out))]]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench sweepkill", description="sweeps killed and resumed")
    parser.add_argument("--count", type=int, default=50, help="trials")
    parser.add_argument("--first", type=int, default=1, help="number of the first one")
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        raise BadInput(f"bench sweepkill: --count {asked.count}: at least 1")
    trials = []
    with tempfile.TemporaryDirectory(prefix="testbed-sweepkill-", dir=scratch()) as folder:
        sweeps = Sweeps(Path(folder))
        for number in range(asked.first, asked.first + asked.count):
            trials.append(sweeps.trial(number, asked.seed))
            if not asked.json:
                print(sentence(trials[-1]), flush=True)
    passed = sum(one.passed for one in trials)
    if asked.json:
        print(json.dumps([asdict(one) for one in trials], indent=2))
    else:
        kills = [at for one in trials for at in one.killed_at]
        inside = sum(0 < at < len(points()) for at in kills)
        torn = sum(one.torn for one in trials)
        print(f"sweeps killed and resumed: {passed} of {len(trials)} identical")
        print(f"kills: {len(kills)}, {inside} of them between two points, {torn} in the middle of a line")
    return 0 if passed == len(trials) else RunInvalid.exit_code


def points() -> list[tuple[int, int]]:
    """Of the sweep's matrix."""
    matrix = EXPERIMENT["matrix"]
    assert isinstance(matrix, dict)
    rtts, seeds = matrix.values()
    return [(rtt, seed) for rtt in rtts for seed in seeds]


def sentence(one: Trial) -> str:
    killed = ", ".join(map(str, one.killed_at)) or "never"
    verdict = "identical" if one.passed else f"DIFFERS: {', '.join(one.differs)}"
    return f"{one.number}: {one.workers} workers{', logs kept' * one.kept_logs}, killed at point {killed}: {verdict}"
