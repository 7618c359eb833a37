"""Files of results: whole or not at all, never over what is not ours, and a disk that is full is named in one line.

Rules kept: a file is written under a temporary name in the folder where it belongs, brought to the disk and then
renamed, so no reader and no second writer meets half of it; whatever the system says while something is written is
answered with the file's name. `DiskFull` is raised nowhere else.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import BadInput, MachineCannot, TestbedError

FULL = (errno.ENOSPC, errno.EDQUOT)
MIB = 1 << 20
LEAST_ROOM = 64 << 10  # with less, what failed has most likely failed for it
INODES = 50  # more than any verb makes files
REPLACING = re.compile(r"\..*\.[0-9a-f]{8}\.partial", re.DOTALL)  # names of `replacing`
AT_FDCWD, RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h


class DiskFull(MachineCannot):
    """There is no space for what is to be written. Exit code 4: the input is right, the machine lacks room."""


def unwritable(path: Path | str, error: OSError) -> TestbedError:
    """What to raise for a file that could not be written: names it, the reason and what to do."""
    if error.errno in FULL:
        reason = "no space left on device" if error.errno == errno.ENOSPC else "disk quota exceeded"
        return DiskFull(f"{path}: {reason}; free some space, or write to another disk")
    reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
    return BadInput(f"{path}: cannot be written ({reason}); choose a place you can write to")


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """What is written inside goes to `path`; an OSError becomes `unwritable`."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Gives the name to write to; when the block ends well, the file takes the place of `path`, whole.

    `durable`: and on disk; otherwise the caller calls `sync` later, for many files together.
    """
    final = Path(os.path.realpath(path))  # a link stays, and what it points to is replaced
    partial = final.with_name(f".{final.name[:80]}.{secrets.token_hex(4)}.partial")
    with writing(path):
        try:
            yield partial
            if durable:
                sync(partial)
            partial.replace(final)
            if durable:
                sync(final.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_new(path: Path, text: str) -> None:
    """A file that was not there. Raises BadInput where something of that name is."""
    partial = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.partial")
    with writing(path):
        try:
            partial.write_text(text, encoding="utf-8")
            sync(partial)
            rename_new(partial, path)
        except FileExistsError as error:
            raise BadInput(f"{path}: is there already and is not overwritten; choose another name") from error
        finally:
            partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """A file's content, or a folder's names, are on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that keeps nothing back
            raise
    finally:
        os.close(descriptor)


def rename_new(source: Path, destination: Path) -> None:
    """Renames a file or a folder in one step. Raises FileExistsError where something of that name is there already."""
    with contextlib.suppress(AttributeError):  # another C library
        libc = ctypes.CDLL(None, use_errno=True)
        if not libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(destination), RENAME_NOREPLACE):
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(source), None, str(destination))
    if source.is_dir():
        destination.mkdir()  # ours alone; renaming replaces an empty folder in one step
        source.rename(destination)
    else:
        os.link(source, destination)
        source.unlink()


def require_space(folder: Path, needed: int, option: str = "--out") -> None:
    """BadInput where the disk of `folder`, which need not be there yet, has no room for so many bytes."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    if found.f_blocks and free < needed:
        raise BadInput(
            f"{option} {folder}: no space left on device ({free / MIB:.1f} MiB free, up to {needed / MIB:.1f} MiB "
            "needed); free some space, or choose another folder"
        )
    if found.f_files and found.f_favail < INODES:
        raise BadInput(
            f"{option} {folder}: no space left on device (no inodes); delete some files, or choose another folder"
        )


def blame_disk(folder: Path, error: BaseException) -> None:
    """Raises DiskFull from an error that is the consequence of a full disk, wherever it was raised."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return
    if found.f_blocks and found.f_bavail * found.f_frsize < LEAST_ROOM and not isinstance(error, DiskFull):
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DiskFull(
            f"{folder}: no space left on device; free some space, or write to another disk (it ended with: {said})"
        )


def check_file(path: Path, needed: int = MIB, option: str = "--out") -> None:
    """BadInput, before any work is done, where a file cannot be written or its disk has no room. Leaves nothing."""
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file in it")
    probe = path.parent / f".{secrets.token_hex(4)}.partial"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except FileNotFoundError:
        raise BadInput(f"{option} {path}: no folder {path.parent}; create it first") from None
    except OSError as error:
        raise BadInput(f"{option} {unwritable(path, error)}") from error
    require_space(path.parent, needed, option)


def check_folder(folder: Path, needed: int = MIB, option: str = "--out") -> None:
    """As `check_file`, for a folder that takes files; it is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{option} {unwritable(folder, error)}") from error
    check_file(folder / f"{secrets.token_hex(4)}.probe", needed, option)
