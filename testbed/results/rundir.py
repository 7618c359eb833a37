"""Directories of runs: hidden while an attempt goes on, published whole, `latest` pointing at the newest.

Rules kept: a run (an id, of what decides it) and an attempt at it (one try of one process) have different names, so no
two processes ever write into one folder and none removes another's; an attempt's folder is locked as long as its
process lives; only a folder with every file it should have gets a run's name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from testbed.errors import BadInput, RunInvalid
from testbed.files.whole import rename_new, require_space, sync, unwritable, writing
from testbed.system.interrupt import shielded
from testbed.system.makers import Maker, lock

SUFFIX = ".partial"
CLAIM = "attempt.json"  # who is at it; locked meanwhile, gone when the folder is published


class Claim(msgspec.Struct, frozen=True):
    """What an attempt says of itself, for who finds its folder."""

    attempt: str
    run_id: str
    experiment: str
    started: float  # seconds since the epoch
    maker: Maker


@dataclass(frozen=True)
class Outcome:
    """A finished run: where it is and what it found."""

    directory: Path
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One process's try at a run: `partial` is its folder, used by no other process."""

    name: str
    out: Path
    final_name: str
    partial: Path

    def discard(self) -> None:
        """Removes what there is of it, for nothing in it is worth a look."""
        shutil.rmtree(self.partial, ignore_errors=True)


def new_attempt(identity: str) -> str:
    """A name for one more try at a run; no two are the same."""
    return f"{identity}-{secrets.token_hex(4)}"


@contextmanager
def attempting(
    out: Path,
    experiment: str,
    identity: str,
    needed: int,
    attempt: str | None = None,
    announce: Callable[[Path], None] | None = None,
) -> Iterator[Attempt]:
    """A hidden, locked, empty directory for one attempt at a run; one that fails leaves it, with its logs.

    `needed`: bytes that the results may take; `announce` hears of the directory before it is made. Without a name of
    an experiment the run is named by its id alone.
    Raises BadInput where `out` cannot take the run: found now, before the run, and not when it is to be published.
    """
    attempt = attempt or new_attempt(identity)
    prefix, latest = f"{experiment}-" if experiment else "", out / "latest"
    partial = out / f".{prefix}{attempt}{SUFFIX}"
    claimed = Claim(attempt, identity, experiment, time.time(), Maker.this_process())
    try:
        if os.path.lexists(latest) and not latest.is_symlink():
            raise BadInput(f"--out {out}: {latest} is not a link made by the testbed; move it or choose another folder")
        require_space(out, needed)
        if announce is not None:
            announce(partial)
        partial.mkdir(parents=True)
        claim = (partial / CLAIM).open("x+b", buffering=0)
    except OSError as error:
        said = str(unwritable(out, error)).removeprefix(f"{out}: ")
        raise BadInput(f"--out {out}: cannot hold a run: {said}") from error
    with claim:
        lock(claim)
        with writing(partial):
            claim.write(msgspec.json.encode(claimed))
        yield Attempt(attempt, out, f"{prefix}{identity}", partial)


def publish(attempt: Attempt, required: Sequence[str], newest: bool = True) -> Path:
    """Gives a finished run its name; an earlier run of the same id is kept, this one gets a number.

    `newest`: `latest` points at it from now on.
    """
    partial, out = attempt.partial, attempt.out
    if missing := [name for name in required if not (partial / name).is_file()]:
        raise RunInvalid(f"{partial}: {', '.join(missing)} missing, so the run is not published; were files deleted?")
    with writing(partial):
        for name in (*required, "."):
            sync(partial / name)
    with shielded():
        (partial / CLAIM).unlink(missing_ok=True)
        final, number = out / attempt.final_name, 1
        while True:
            try:
                rename_new(partial, final)
                break
            except FileExistsError:
                number += 1
                final = out / f"{attempt.final_name}.{number}"
            except OSError as error:
                raise unwritable(final, error) from error
        if newest:
            point_latest(out, final.name)
    return final


def point_latest(out: Path, name: str) -> None:
    """`latest` points at that run from now on; at every moment it points at a whole one."""
    staged = out / f".latest.{secrets.token_hex(4)}"
    try:
        staged.symlink_to(name, target_is_directory=True)
        staged.replace(out / "latest")
        sync(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise unwritable(out / "latest", error) from error
