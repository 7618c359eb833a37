"""A folder of this user's cache that only this user can write to: what is read from it later is believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from testbed.files.reading import one_line


def private_folder(name: str) -> tuple[Path | None, str]:
    """`name`, a path, created if necessary: this user's, and writable by this user only; else why there is none."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if not base.is_absolute():
            return None, f"XDG_CACHE_HOME={base} is not an absolute path"
        folder = base
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in ("", *name.split("/")):
            folder = folder / part
            if part:
                folder.mkdir(mode=0o700, exist_ok=True)
            facts = folder.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                return None, f"{folder} is not a folder that only this user can write to"
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home folder
        return None, f"the cache folder cannot be used: {one_line(error)}"
    return folder, ""
