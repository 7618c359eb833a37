"""Names of run directories: hidden while a run goes on, published whole, `latest` pointing at the newest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """A finished run: where it is and what it found."""

    directory: Path
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]


def partial_directory(out: Path, experiment: str, identity: str) -> Path:
    """An empty hidden directory for the run in progress; a run that fails leaves it, with its logs, and no result."""
    partial = out / f".{experiment}-{identity}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    return partial


def publish(partial: Path, out: Path) -> Path:
    """Gives a finished run its name; an earlier run of the same id is kept, this one gets a number."""
    name = partial.name.removeprefix(".").removesuffix(".partial")
    final, number = out / name, 1
    while final.exists():
        number += 1
        final = out / f"{name}.{number}"
    partial.rename(final)
    staged = out / f".latest.{time.monotonic_ns()}"
    staged.symlink_to(final.name, target_is_directory=True)
    staged.replace(out / "latest")
    return final
