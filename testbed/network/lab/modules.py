"""Readies the lab's guest: `modules.py mount TYPE:PATH...`, then `modules.py load DIRECTORY NAME...`.

`load` loads kernel modules, each after all it depends on. Stands alone (standard library, no import of this package)
and does what insmod and mount would, because minimal images have Python and no kmod, and because a setuid mount cannot
be used by a guest whose user is an ordinary one.
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


def mount(filesystem: str, path: str) -> None:
    """Without /proc, tc would set wrong delays and say nothing: what cannot be mounted ends the boot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not os.path.ismount(path) and libc.mount(filesystem.encode(), path.encode(), filesystem.encode(), 0, None):
        sys.exit(f"lab: cannot mount {path} inside the lab's kernel ({os.strerror(ctypes.get_errno())})")


def load_all(directory: Path, names: Sequence[str]) -> None:
    try:
        order = load_order((directory / "modules.dep").read_text(), names)
    except (OSError, StopIteration, KeyError):
        sys.exit(f"lab: {directory} lacks one of {', '.join(names)}; fix: apt-get install --reinstall user-mode-linux")
    for path in order:
        load(directory / path)


if __name__ == "__main__":
    if sys.argv[1] == "mount":
        for argument in sys.argv[2:]:
            mount(*argument.split(":"))
    else:
        load_all(Path(sys.argv[2]), sys.argv[3:])
