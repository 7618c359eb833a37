"""`testbed clean`: undoes the journals of dead attempts, each for itself, whatever state the others are in.

Rules kept: a journal is undone only by who has its lock, and removed only while the name still means that very file; so
a run that starts, one that ends and a second `clean` never take each other's. Neither links nor what another process
put there is followed. What could not be undone is said, and its journal stays for another try.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import IO, NamedTuple

from testbed.errors import BadInput
from testbed.system.journal import JOURNAL_NAME, NEW, Entry, is_live, parse, refuse_foreign, remove_journal, state_dir
from testbed.system.makers import Maker, boot_id, lock
from testbed.system.undoing import RemoveContainers, said, undo

YOUNG_S = 60.0  # a folder without a journal may be one that is just being made


class Cleaned(NamedTuple):
    """What was done and found, and what could not be undone: a line each."""

    said: list[str]
    failed: list[str]


def clean(remove_containers: RemoveContainers, state: Path | None = None, attempt: str | None = None) -> Cleaned:
    """Removes what dead attempts left, or one of them, or all at one run. Those whose holder lives are left alone."""
    state = state or state_dir()
    if state.exists():
        refuse_foreign(state)
    journals = sorted(state.glob(f"*/{JOURNAL_NAME}"))
    if attempt is not None:
        chosen = [path for path in journals if f"{path.parent.name}-".startswith(f"{attempt}-")]
        if not chosen:
            known = ", ".join(path.parent.name for path in journals) or "none"
            raise BadInput(f"clean: no run {attempt!r} left anything in {state}; runs there: {known}")
        journals = chosen
    cleaned = Cleaned([], [])
    for path in journals:
        try:
            _clean(path, remove_containers, cleaned)
        except OSError as error:
            cleaned.failed.append(f"{path}: {error.strerror or error}; check it and remove it by hand")
    if attempt is None:
        _remove_husks(state)
    return cleaned


def _clean(path: Path, remove_containers: RemoveContainers, cleaned: Cleaned) -> None:
    name = path.parent.name
    if path.parent.is_symlink():
        raise OSError("is in a symlinked folder, which is not followed")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # another clean, or its own run, has removed it meanwhile
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError("is not this user's journal")
        ours = lock(file)
        entries, wrong = parse(file.read())
        if is_live(entries):
            cleaned.said.append(f"{name}: still running, skipped")
        elif not ours:
            cleaned.said.append(f"{name}: another clean is working on it, skipped")
        elif _is_named(path, file):
            _undo(path, entries, wrong, remove_containers, cleaned)


def _undo(
    path: Path, entries: list[Entry], wrong: list[int], remove_containers: RemoveContainers, cleaned: Cleaned
) -> None:
    name = path.parent.name
    holder = next((entry.maker() for entry in entries if entry.kind == "holder"), Maker(0))
    here = Maker.this_process()
    rebooted = holder.boot not in ("", boot_id())
    if rebooted and holder.host != here.host:
        cleaned.said.append(f"{name}: belongs to the machine {holder.host}, skipped; clean it there")
        return
    undone = undo(path, entries, remove_containers, crashed=True, rebooted=rebooted)
    cleaned.said.extend(f"{name}: removed {line}" for line in undone.removed)
    cleaned.failed.extend(f"{name}: {said(error)}" for error in undone.failed)
    if wrong:
        lines = ", ".join(map(str, wrong))
        cleaned.failed.append(f"{path}:{wrong[0]}: cannot be parsed (lines {lines}); check it, then remove it")
    if not wrong and not undone.failed:
        remove_journal(path)
        cleaned.said.append(f"{name}: clean")


def _is_named(path: Path, file: IO[bytes]) -> bool:
    """Whether the name still means this very file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _remove_husks(state: Path) -> None:
    """Folders of attempts that died before their journal had its name, or just after it was gone."""
    for folder in state.glob("*/"):
        with contextlib.suppress(OSError):  # not empty, or gone
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < YOUNG_S:
                continue
            for made in folder.glob(f"{NEW}*"):
                with made.open("r+b") as file:
                    if lock(file):
                        made.unlink()
            folder.rmdir()
