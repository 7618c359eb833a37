"""How processes of a run end: with the one that started them, and in which words that is said.

`python -m testbed.system.processes PARENT MODULE ARGUMENT...` runs a module that ends with process PARENT. Standard
library only: it comes before anything heavy is imported.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

from testbed.system.linux import PR_SET_PDEATHSIG

SHELL_SIGNALLED = 128  # a container's status, as a shell's, is this and the signal's number


def ending_with_this(module: str, *arguments: object) -> list[str]:
    """Command line of a module that the kernel kills when this process has ended, however that was.

    Nothing need be read or written for it, so it holds while models are loaded and while a pass is computed. To be
    started from the main thread, or from a thread that outlives the module: prctl(2) means the thread that started it.
    """
    return ending_with(os.getpid(), module, *arguments)


def ending_with(parent: int, module: str, *arguments: object) -> list[str]:
    """The same for another process, which is to start it."""
    return [sys.executable, "-m", "testbed.system.processes", str(parent), module, *map(str, arguments)]


def ends_with(parent: int) -> bool:
    """The kernel kills this process when its parent has ended; False where that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def ending(status: int) -> str:
    """What became of a process, by its status as `subprocess` gives it: below 0 it is the signal that ended it."""
    return f"was killed (signal {-status})" if status < 0 else f"ended (status {status})"


def from_shell(status: int) -> int:
    """A status as shells and container engines give it, as `subprocess` would."""
    return SHELL_SIGNALLED - status if SHELL_SIGNALLED < status <= SHELL_SIGNALLED + signal.SIGRTMAX else status


def main(parent: int, module: str, arguments: list[str]) -> None:
    if not ends_with(parent):
        return
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
