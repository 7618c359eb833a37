"""Weights as lean passes read them, one file a model, made once and mapped by every node that runs it.

Kept beside what else is known of the model (`testbed.models.kept`). A pack is as large as the weights in fp32, so no
more than `MOST_BYTES` are kept: those used longest ago go, but none of the last day, which a run may be about to open.
Rule: why a pack could not be made is said; nodes then load the model by transformers, with the same results.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from testbed.errors import RunInvalid, TestbedError
from testbed.files.whole import replacing
from testbed.models import kept
from testbed.models.lean.kinds import NotLean, write_pack
from testbed.models.lean.pack import Damaged, Packed, intact, open_pack

SUFFIX = ".pack"
DTYPE = "float32"
MOST_BYTES = 20 << 30
RECENT_S = 86400
SPARE_BYTES = 1 << 30  # stay free on the disk


def place(name: str) -> Path | None:
    """Where a model's pack is or would be; None where this user has no private folder for it."""
    return kept.place(name, DTYPE, suffix=SUFFIX)


def ready(path: Path | None) -> bool:
    """Whether a whole pack is there; its last use is now."""
    try:
        if path is None or not intact(path):
            return False
        os.utime(path)
    except OSError:
        return False
    return True


def make(path: Path | None, model: Any, sha256: str) -> str:
    """Writes the pack of a loaded model, whose weights have this hash, to `path`; empty if it is there.

    Else why nothing was written, in words: the model is not lean, no folder may hold it (`path` is None), or
    the disk lacks room.
    """
    if path is None:
        return kept.unusable() or "the cache folder cannot be used"
    needed = 2 * 4 * int(model.num_parameters()) + SPARE_BYTES
    if (free := shutil.disk_usage(path.parent).free) < needed:
        return f"{path.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} are needed; XDG_CACHE_HOME moves it"
    try:
        with replacing(path) as partial:
            with partial.open("xb+") as file:
                write_pack(model, file, sha256)
            partial.chmod(0o644)  # a container's user is nobody here; the folder above keeps others out
    except (NotLean, TestbedError) as error:
        return str(error)
    _tidy(path)
    return ""


def load(name: str, path: Path) -> Packed:
    """Raises RunInvalid where it is gone or damaged: the engine saw it whole a moment ago."""
    try:
        with path.open("rb") as file:
            return open_pack(file)
    except (OSError, Damaged) as error:
        raise RunInvalid(
            f"model {name!r}: {path}, its weights as nodes read them, is gone or damaged: {error}"
        ) from error


def _tidy(newest: Path) -> None:
    def last_used(path: Path) -> tuple[bool, float]:
        return path == newest, path.stat().st_mtime  # which ticks every few milliseconds only

    packs = sorted(newest.parent.glob(f"*{SUFFIX}"), key=last_used, reverse=True)
    total = 0
    for path in packs:
        total += path.stat().st_size
        if total > MOST_BYTES and time.time() - path.stat().st_mtime > RECENT_S:
            path.unlink(missing_ok=True)
