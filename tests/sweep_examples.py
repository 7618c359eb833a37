"""A sweep small enough for a test: made-up outcomes, two prompts of twelve tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from testbed.bench import forked
from testbed.sweeps.plan import load_sweep
from testbed.sweeps.run import SweepOptions, SweepOutcome, run_sweep

SMALL: dict[str, Any] = {
    "name": "small",
    **forked.SMALL,
    "matrix": {"network.rtt_ms": [5, 20], "seed": [1, 2, 3]},
}


class Watcher:
    """Remembers what a sweep said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.totals: list[tuple[int, int]] = []
        self.advanced: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def total(self, points: int, finished: int) -> None:
        self.totals.append((points, finished))

    def advance(self, points: int) -> None:
        self.advanced.append(points)


def experiment(folder: Path, **changes: object) -> Path:
    """The file of a sweep over distance and seed; `changes` replace whole keys, None removes them."""
    content = {**SMALL, **changes}
    path = folder / f"{content['name']}.yaml"
    path.write_text(
        yaml.safe_dump({key: value for key, value in content.items() if value is not None}, sort_keys=False)
    )
    return path


def swept(path: Path, out: Path, *overrides: str, workers: int = 1, **options: Any) -> tuple[SweepOutcome, Watcher]:
    watcher = Watcher()
    return run_sweep(load_sweep(path, overrides), SweepOptions(out=out, workers=workers, **options), watcher), watcher
