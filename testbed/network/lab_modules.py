"""Loads kernel modules inside the lab's guest: `lab_modules.py DIRECTORY NAME...`, each after all it depends on.

Stands alone (standard library, no import of this package) and does what insmod would, because minimal images have
Python and no kmod.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

SYS_FINIT_MODULE = 313  # asm/unistd_64.h; User-Mode Linux exists for x86 only


def load_order(dependencies: str, names: Sequence[str]) -> list[str]:
    """Paths of the named modules and of all they need, needed ones first; `dependencies` is the text of modules.dep."""
    needed = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    order: dict[str, None] = {}

    def visit(path: str) -> None:
        for below in needed[path]:
            if below not in order:
                visit(below)
        order[path] = None

    for name in names:
        visit(next(path for path in needed if path.endswith(f"/{name}.ko")))
    return list(order)


def load(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syscall(SYS_FINIT_MODULE, descriptor, b"", 0) and ctypes.get_errno() != errno.EEXIST:
            sys.exit(f"lab: cannot load {path} ({os.strerror(ctypes.get_errno())})")
    finally:
        os.close(descriptor)


def main(directory: Path, names: Sequence[str]) -> None:
    try:
        order = load_order((directory / "modules.dep").read_text(), names)
    except (OSError, StopIteration, KeyError):
        sys.exit(f"lab: {directory} lacks one of {', '.join(names)}; mend: apt-get install --reinstall user-mode-linux")
    for path in order:
        load(directory / path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
