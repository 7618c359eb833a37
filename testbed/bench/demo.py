"""`python -m testbed.bench demo --count 10`: `make demo` in fresh clones, one after another, as a newcomer types it.

Each trial clones the repository this code stands in (what is committed), sets up its own environment and runs the
demo. A trial counts as valid at the first try only if exit status 0 came from the first run: `make demo` may run twice.
`--here` leaves out clone and set-up and runs the demo's experiment from this checkout; `--beside` keeps the machine
busy meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.bench.beside import KINDS, NOTHING, beside
from testbed.errors import BadInput, RunInvalid


@dataclass(frozen=True)
class Trial:
    """One fresh clone, or run of this checkout: `valid_first` is the claim; with a clone, `wall_s` includes set-up."""

    status: int
    valid_first: bool
    wall_s: float
    late_share: float | None  # of all passes of the first run
    reasons: tuple[str, ...]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench demo", description="`make demo` in fresh clones")
    parser.add_argument("--count", type=int, default=10, help="trials")
    parser.add_argument("--here", action="store_true", help="from this checkout, without clone and set-up")
    parser.add_argument("--beside", choices=KINDS, default=NOTHING, help="what else keeps the machine busy")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        raise BadInput(f"bench demo: --count {asked.count}: at least 1")
    repository = Path(__file__).resolve().parents[2]
    if not (repository / ".git").exists():
        raise BadInput(f"bench demo: {repository} is not a git checkout, so nothing can be cloned")
    trials = []
    with beside(asked.beside, repository):
        for number in range(1, asked.count + 1):
            trials.append((trial_here if asked.here else trial)(repository))
            if not asked.json:
                print(f"{number}/{asked.count}: {sentence(trials[-1])}", flush=True)
    valid = sum(one.valid_first for one in trials)
    if asked.json:
        print(json.dumps([asdict(one) for one in trials], indent=2))
    else:
        walls = [one.wall_s for one in trials]
        print(f"valid at the first try: {valid} of {len(trials)}")
        what = "wall" if asked.here else "wall, with set-up"
        print(f"{what}: median {statistics.median(walls):.0f} s, largest {max(walls):.0f} s")
    return 0 if valid == len(trials) else RunInvalid.exit_code


def trial(repository: Path) -> Trial:
    with tempfile.TemporaryDirectory(prefix="testbed-demo-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(repository), str(clone)], check=True)
        return _judged(["make", "demo"], clone, clone / "runs")


def trial_here(repository: Path) -> Trial:
    with tempfile.TemporaryDirectory(prefix="testbed-demo-") as folder:
        command = [sys.executable, "-m", "testbed", "run", "experiments/quickstart.yaml", "--out", folder]
        return _judged(command, repository, Path(folder))


def _judged(command: Sequence[str], where: Path, runs: Path) -> Trial:
    started = time.monotonic()
    done = subprocess.run(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall = time.monotonic() - started
    found = first_run(runs)
    if found is None:
        return Trial(done.returncode, False, wall, None, tuple(done.stdout.strip().splitlines()[-1:]))
    validity = found["validity"]
    first = done.returncode == 0 and validity["valid"]
    return Trial(done.returncode, first, wall, found["compute"]["overrun_share"], tuple(validity["reasons"]))


def first_run(runs: Path) -> dict[str, Any] | None:
    """The summary of the earliest run in a folder of runs."""
    summaries = sorted(runs.glob("[!.]*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
    summaries = [path for path in summaries if not path.parent.is_symlink()]
    found: dict[str, Any] | None = json.loads(summaries[0].read_text()) if summaries else None
    return found


def sentence(one: Trial) -> str:
    verdict = "valid at the first try" if one.valid_first else f"not valid at the first try (status {one.status})"
    late = "" if one.late_share is None else f", {100 * one.late_share:.2f} % of passes late"
    return f"{verdict}, {one.wall_s:.0f} s{late}{''.join(f'; {reason}' for reason in one.reasons)}"
