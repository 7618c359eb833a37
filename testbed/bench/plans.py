"""`python -m testbed.bench plans`: runs beside their plans: what was expected before the first request, and what came.

Prints a row of docs/performance.md for each run. A plan that refuses a run is right where the run must not be made: of
`IMPOSSIBLE` ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BadInput, MachineCannot, RunInvalid
from testbed.results.forecast import duration

NEAR = 0.15
HEADING = "| run | N | requests, expected / came | wall time, expected / came | off | held, expected / came | verdict |"


@dataclass(frozen=True)
class Case:
    """One run: `testbed run ARGUMENTS`."""

    name: str
    arguments: tuple[str, ...]
    fits: bool = True  # else the plan is to refuse it

    @property
    def said(self) -> str:
        return " ".join(self.arguments)


def _case(name: str, *arguments: str, fits: bool = True) -> Case:
    return Case(name, (*arguments, "--fabric", "relay") if "--fabric" not in arguments else arguments, fits)


FAST = f"devices.target={Path(__file__).with_name('impossible.yaml')}"  # a microsecond a pass
CASES = (
    _case("quickstart", "quickstart", "workload.requests=4"),
    _case("quickstart-8", "quickstart", "workload.requests=8", "seed=3"),
    _case("short", "quickstart", "workload.requests=6", "workload.output_tokens=30"),
    _case("dilated", "quickstart", "workload.requests=2", "time.dilation=2"),
    _case("recorded", "quickstart", "workload.requests=4", "compute.models=recorded"),
    _case("lab", "quickstart", "workload.requests=3", "--fabric", "lab"),
    _case("same-coast", "wanspec/same-coast", "workload.requests=3"),
    _case("cross-country", "wanspec/cross-country", "workload.requests=2"),
    _case("beyond-40ms", "wanspec/beyond-40ms", "workload.requests=2"),
    _case("far", "calibration/rtt-116-users-1", "workload.requests=2"),
    _case("eight-users", "calibration/rtt-11-users-8", "workload.requests=16"),
    _case("series", "calibration/series-same-coast", "workload.requests=3"),
    _case("varying", "calibration/varying-passes", "workload.requests=3"),
    _case("falls-back", "sled/fall-back", "workload.requests=3"),
    _case("poisson", "quickstart", "workload.requests=6", 'workload.arrivals={"poisson": {"rate_per_s": 0.5}}'),
    _case("sampled", "quickstart", "workload.requests=3", "workload.sampling.temperature=0.8"),
    _case("mixed", "quickstart", "workload.requests=4", "workload.prompts=mixed"),
    _case("recorded-fleet", "wisp/recorded-fleet"),
    _case("emulated-32", "wisp/emulated-32"),
    _case("smollm2", "smollm2", "workload.requests=2"),
    _case("jitter", "calibration/jitter-5", "workload.requests=4"),
    _case("loss", "calibration/loss-0.5", "workload.requests=4"),
    _case("reordered", "calibration/reorder-1", "workload.requests=4"),
    _case("rate", "calibration/rate-10", "workload.requests=4"),
    _case("long-prompts", "calibration/long-prompts", "workload.requests=3"),
    _case("failover", "routing/failover"),
    _case("dilated-recorded", "quickstart", "workload.requests=3", "compute.models=recorded", "time.dilation=3"),
    _case("dilated-lab", "quickstart", "workload.requests=2", "time.dilation=2", "--fabric", "lab"),
    _case("native-drafter", "quickstart", "workload.requests=4", "devices.drafter=native"),
    _case("native", "quickstart", "workload.requests=6", "devices.target=native", "devices.drafter=native"),
    _case("repeats", "quickstart", "workload.requests=2", "repeats=3"),
    _case("one-policy", "quickstart", "workload.requests=12", "policies=[wanspec]"),
    _case("long-answers", "quickstart", "workload.requests=2", "workload.output_tokens=250"),
    _case("containers", "quickstart", "workload.requests=3", "--nodes", "docker"),
    _case("impossible", "quickstart", FAST, fits=False),
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench plans", description="runs beside their plans")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(one.name for one in CASES)}; none: all")
    parser.add_argument("--out", type=Path, default=None, help="keep the runs in this folder")
    parser.add_argument("--read", type=Path, default=None, help="rows of the runs that are in this folder; runs none")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in {one.name for one in CASES}]:
        raise BadInput(f"bench plans: no run {unknown[0]!r}; see --help")
    print(f"{HEADING}\n|{'---|' * (HEADING.count('|') - 1)}", flush=True)
    if asked.read is not None:
        return read(asked.read)
    right = []
    with tempfile.TemporaryDirectory(prefix="testbed-plans-") as folder:
        for one in CASES:
            if not asked.names or one.name in asked.names:
                line, good = row(one, *run(one, asked.out or Path(folder)))
                print(line, flush=True)
                right.append(good)
    print(f"\nright: {sum(right)} of {len(right)}")
    return 0 if all(right) else RunInvalid.exit_code


def read(folder: Path) -> int:
    """Rows of finished runs, as old as they are, and how near their wall time was."""
    found = [
        (path.parent.name, json.loads(path.read_text()))
        for path in sorted(folder.glob("**/summary.json"), key=lambda path: path.stat().st_mtime)
        if not any(parent.is_symlink() or parent.name.startswith(".") for parent in path.parents)
    ]
    planned = [(Case(name, (name,)), summary) for name, summary in found if summary.get("plan")]
    rows = [row(case, 0, summary, "") for case, summary in planned]
    for line, _ in rows:
        print(line)
    errors = [summary["plan"]["wall_error"] for _, summary in planned]
    near = sum(one is not None and abs(one) <= NEAR for one in errors)
    print(
        f"\nright: {sum(good for _, good in rows)} of {len(rows)}; wall time within {NEAR:.0%}: {near} of {len(rows)}"
    )
    return 0


def run(case: Case, out: Path) -> tuple[int, dict[str, Any] | None, str]:
    """Exit status, summary and what was said last."""
    command = [sys.executable, "-m", "testbed", "run", *case.arguments, "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    summary = json.loads(done.stdout) if done.stdout.strip() else None
    return done.returncode, summary, next(iter(done.stderr.strip().splitlines()[-1:]), "")


def row(case: Case, status: int, summary: dict[str, Any] | None, said: str) -> tuple[str, bool]:
    """The row, and whether the plan's verdict was right."""
    if summary is None or "plan" not in summary:
        refused = status == MachineCannot.exit_code and "plan: " in said
        return _row([case.said, "", "", "", "", "", f"{said}"]), refused and not case.fits
    plan = summary["plan"]
    seen, expected = plan["seen"], {True: "valid", False: "not valid"}
    reasons = "" if seen["valid"] else f" ({summary['validity']['reasons'][0]})"
    cells = [
        case.said,
        f"{plan['dilation']:g}",
        _both(plan, "requests_s"),
        _both(plan, "wall_s"),
        "" if plan["wall_error"] is None else f"{plan['wall_error']:+.0%} ({plan['requests_error']:+.0%})",
        f"{plan['held_share']:.1%} / {seen['held_share']:.1%}",
        f"{expected[plan['valid']]} / {expected[seen['valid']]}{reasons}",
    ]
    return _row(cells), bool(plan["verdict_right"])


def _both(plan: dict[str, Any], key: str) -> str:
    expected = "?" if plan[key] is None else duration(plan[key])
    return f"{expected} / {duration(plan['seen'][key])}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
