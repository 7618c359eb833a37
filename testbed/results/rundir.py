"""Names of run directories: hidden while a run goes on, published whole, `latest` pointing at the newest."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import BadInput


@dataclass(frozen=True)
class Outcome:
    """A finished run: where it is and what it found."""

    directory: Path
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]


def partial_directory(
    out: Path, experiment: str, identity: str, announce: Callable[[Path], None] | None = None
) -> Path:
    """An empty hidden directory for the run in progress; a run that fails leaves it, with its logs, and no result.

    `announce` hears of it before it is made.
    Raises BadInput where `out` cannot take the run: found now, before the run, and not when it is to be published.
    """
    latest, partial = out / "latest", out / f".{experiment}-{identity}.partial"
    try:
        if os.path.lexists(latest) and not latest.is_symlink():
            raise BadInput(f"--out {out}: {latest} is no link of the testbed's; move it away or choose another folder")
        if announce is not None:
            announce(partial)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    except OSError as error:
        raise BadInput(
            f"--out {out}: cannot take a run ({error.strerror}); choose a folder you can write to"
        ) from error
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
