"""What lies in a folder of runs: finished ones, attempts in progress, and what ended without a result.

Rule kept: only an attempt that has ended, by its lock, is removed, and only a folder that the testbed named; a
finished run only where it is asked for; what cannot be told to be either is left alone (invariant 5).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from testbed.errors import BadInput
from testbed.files.whole import REPLACING
from testbed.results.rundir import CLAIM, SUFFIX, Claim, point_latest
from testbed.results.store import FILES
from testbed.system.makers import lock

State = Literal["finished", "damaged", "in progress", "unfinished"]

NAMED_BY_US = re.compile(rf"\.(.*-)?[0-9a-f]{{10}}(-[0-9a-f]{{8}})?{re.escape(SUFFIX)}")
LATEST = "latest"  # a link to the newest run of a folder
SUMMARY = "summary.json"
DAY_S = 86_400.0
YOUNG_S = 60.0  # a folder without a claim, or with half of one, may be just being made or published


@dataclass(frozen=True)
class Found:
    """One directory of a run, or of an attempt at one."""

    path: Path
    state: State
    experiment: str
    run_id: str
    attempt: str | None = None
    started: float | None = None  # seconds since the epoch; of a finished run None
    process: int | None = None  # that is at it, or was
    valid: bool | None = None  # of finished runs

    def as_dict(self) -> dict[str, object]:
        return {**self.__dict__, "path": str(self.path)}


def find(out: Path) -> list[Found]:
    """In a folder of runs and in the `runs` of the sweeps in it; by name. Raises BadInput where there is no folder."""
    if not out.is_dir():
        raise BadInput(f"--out {out}: no such folder")
    return [found for place in _places(out) for path in sorted(place.iterdir()) if (found := _found(path)) is not None]


def unfinished(out: Path) -> list[Found]:
    """Of them those that ended without a result, without a look at the others; none where there is no folder."""
    paths = [path for place in _places(out) for path in sorted(place.glob(f".*{SUFFIX}"))]
    return [found for path in paths if (found := _found(path)) is not None and found.state == "unfinished"]


def outdated(out: Path, not_valid: bool, older_than_days: float | None, experiment: str | None) -> list[Found]:
    """Finished runs that are not valid, or older than so many days, or both where both is asked; else none."""
    if not not_valid and older_than_days is None:
        return []
    before = time.time() - (older_than_days or 0.0) * DAY_S
    return [
        one
        for one in find(out)
        if one.state == "finished"
        and experiment in (None, one.experiment)
        and not (not_valid and one.valid is not False)
        and (older_than_days is None or (one.path / SUMMARY).stat().st_mtime < before)
    ]


def _places(out: Path) -> list[Path]:
    return [out, *sorted(path for path in out.glob("*-sweep-*/runs") if path.is_dir())]


def prune(found: Found) -> bool:
    """Removes an unfinished attempt or a finished run; False where it is in progress after all, or gone by now."""
    if found.state == "finished":
        return _prune_finished(found)
    if found.state != "unfinished":
        raise ValueError(f"{found.path} is {found.state}")
    with _claim(found.path, shared=False) as (alone, claim):
        if not alone or not _ended(found.path, claim):
            return False
        try:
            shutil.rmtree(found.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise BadInput(f"{found.path}: cannot be removed ({error.strerror}); remove it by hand") from error
    return True


def _prune_finished(found: Found) -> bool:
    """First it stops being a run, in one step; then its files go. `latest` points at the newest that is left."""
    out, doomed = found.path.parent, found.path.parent / f".{found.path.name}-{secrets.token_hex(4)}{SUFFIX}"
    try:
        found.path.rename(doomed)
        shutil.rmtree(doomed)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise BadInput(f"{found.path}: cannot be removed ({error.strerror}); remove it by hand") from error
    latest = out / LATEST
    if latest.is_symlink() and not latest.exists():
        left = [one.path for one in find(out) if one.state == "finished" and one.path.parent == out]
        if left:
            point_latest(out, max(left, key=lambda path: (path / SUMMARY).stat().st_mtime).name)
        else:
            latest.unlink(missing_ok=True)
    return True


def remove_scraps(folder: Path) -> None:
    """What killed writers left of single files, for who holds the folder's lock."""
    for path in folder.glob(f".*{SUFFIX}"):
        if REPLACING.fullmatch(path.name) and path.is_file():
            with contextlib.suppress(OSError):
                path.unlink()


def _found(path: Path) -> Found | None:
    if path.is_symlink() or not path.is_dir():
        return None
    if NAMED_BY_US.fullmatch(path.name) or (path.name.endswith(SUFFIX) and (path / CLAIM).is_file()):
        return _attempt(path)
    there = [name for name in FILES if (path / name).is_file()]
    if not there:
        return None
    state: State = "finished" if len(there) == len(FILES) else "damaged"
    facts = _facts(path / SUMMARY)
    judged = facts.get("validity")
    valid = judged.get("valid") if isinstance(judged, dict) else None
    return Found(path, state, str(facts.get("experiment", "")), str(facts.get("run_id", "")), valid=valid)


def _attempt(path: Path) -> Found:
    with _claim(path, shared=True) as (alone, claim):
        state: State = "unfinished" if alone and _ended(path, claim) else "in progress"
    if claim is None:
        name = path.name.removeprefix(".").removesuffix(SUFFIX)
        return Found(path, state, name, "")
    return Found(path, state, claim.experiment, claim.run_id, claim.attempt, claim.started, claim.maker.pid)


def _ended(path: Path, claim: Claim | None) -> bool:
    """Of an attempt whose lock is free."""
    if claim is not None:
        return not claim.maker.lives()  # also where a file system has no locks
    try:
        return time.time() - path.stat().st_mtime > YOUNG_S
    except OSError:
        return False


@contextmanager
def _claim(path: Path, shared: bool) -> Iterator[tuple[bool, Claim | None]]:
    """Whether the attempt's lock is free, held inside the block, and what it says of itself, if it does."""
    descriptor = -1
    for way in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(OSError):
            descriptor = os.open(path / CLAIM, way | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            break
    if descriptor < 0:
        yield True, None
        return
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        alone, claim = lock(file, shared), None
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError, OSError):
            claim = msgspec.json.decode(file.read(), type=Claim)
        yield alone, claim


def _facts(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
