"""Nodes as Mininet hosts: each a process in its own network namespace, in which the node's programs are started.

Rules kept: programs never run through Mininet's shell (one command at a time, exit code and pipes lost); `mn -c` is
never called (it kills by name). Mininet is imported only when the first node is made. Where the distribution's
`mnexec` is not installed, `bin/mnexec.sh` does its work; `facts()` says which one did.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from testbed.errors import BadInput, MachineCannot, RunInvalid
from testbed.network.names import HOSTS_FILE
from testbed.system import helper
from testbed.system.environment import of_programs
from testbed.system.journal import Journal
from testbed.system.netns import Interface, in_node
from testbed.system.sidebyside import side_by_side
from testbed.system.undoing import stop_groups
from testbed.system.userns import namespace_fix, privilege

if TYPE_CHECKING:
    from mininet.node import Host

STAND_IN = Path(__file__).parent / "bin" / "mnexec.sh"
STARTED_TOGETHER = 8  # nodes; beyond that the processor is what they wait for
MININET_FIX = (
    "pip install --force-reinstall mininet==2.3.0.dev6"  # by force: half an installation counts as one for pip
)


def load_mininet() -> tuple[Any, Any]:
    """Mininet's `node` and `log`; MachineCannot with the fix if they are missing."""
    if importlib.util.find_spec("mininet") is None:
        raise MachineCannot(f"nodes: Mininet is not installed; {MININET_FIX}")
    try:
        from mininet import log, node
    except ImportError as error:  # half an installation, or one for another Python
        raise MachineCannot(f"nodes: Mininet cannot be imported ({error}); {MININET_FIX}") from error
    return node, log


def mnexec_command() -> list[str]:
    """The distribution's mnexec where there is one, else our stand-in."""
    found = shutil.which("mnexec")
    return [found] if found else ["bash", str(STAND_IN)]


def enter(pid: int, argv: Sequence[str]) -> list[str]:
    """Command line that runs `argv` in the network namespace of `pid`; the process stays the same throughout."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]


def enter_whole(pid: int, argv: Sequence[str], folder: Path) -> list[str]:
    """The same, seeing files as the node does (`names`), in the folder `folder`: entering leaves the caller's."""
    namespaces = (f"--{kind}=/proc/{pid}/ns/{name}" for kind, name in (("net", "net"), ("mount", "mnt")))
    return ["nsenter", *namespaces, "--", "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv]


class Process(Protocol):
    """A program of the run, as far as it has to be ended."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int: ...


class MininetHosts:
    """The nodes of one run. `stop` ends what still runs in them and then the namespaces themselves."""

    def __init__(self, run_id: str, journal: Journal, names: Path | None = None) -> None:
        """`names`: a file that nodes made here see in place of the machine's hosts file."""
        self._run_id = run_id
        self._names = names
        self.journal = journal
        self._hosts: dict[str, Host] = {}
        self._processes: list[Process] = []

    def add(self, name: str, pid: int | None = None) -> int:
        """Makes a node with nothing but a loopback interface; returns the pid that holds its namespace.

        `pid`: the node is a container, known by any process in it; its namespace is kept until `stop`, also when the
        container has ended.
        """
        if name in self._hosts:
            raise BadInput(f"node {name!r} is given twice")
        try:
            host = _host_class(self.journal.environment, pid, self._names)(
                f"{self._run_id}-{name}", inNamespace=pid is None
            )
        except OSError as error:  # of reading from its shell, which has ended
            if pid is not None:
                raise RunInvalid(f"node {name}: its container ended before its link was made") from error
            raise MachineCannot(f"nodes: the shell of {name} ended as it was started; see testbed doctor") from error
        host.inNamespace = True
        self.journal.group(host.pid)
        self._hosts[name] = host
        in_node(f"node {name}", host.pid, _bring_loopback_up)
        return int(host.pid)

    def add_all(self, nodes: Mapping[str, int | None]) -> list[int]:
        """`add` for each, several at a time: starting one is mostly waiting for its shell's first prompt."""
        load_mininet()  # or its error, before there are threads
        return side_by_side(lambda node: self.add(*node), nodes.items(), STARTED_TOGETHER, "node", all_tried=False)

    def host(self, name: str) -> Host:
        """The Mininet object itself, for Mininet's command line."""
        return self._hosts[name]

    def popen_at(
        self, pid: int, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Starts a program in the namespace of process `pid`, in its own session; options as for `Popen`."""
        process = helper.start(enter(pid, argv), self.journal, env, **options)
        self._processes.append(process)
        return process

    def popen_whole(
        self, pid: int, argv: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """`popen_at` for a program that is not the testbed's: it sees the node's files, and starts in `folder`."""
        process = helper.start(enter_whole(pid, argv, folder), self.journal, env, **options)
        self._processes.append(process)
        return process

    def end(self, process: Process) -> None:
        """Ends one of these programs, and what it started, before its time."""
        stop_groups({process.pid}, self.journal.path)
        process.wait()
        self._processes.remove(process)

    def adopt(self, process: Process) -> None:
        """A program that leads a process group, started by another process: ended like all others."""
        self.journal.group(process.pid)
        self._processes.append(process)

    def facts(self) -> dict[str, object]:
        return {
            "privilege": privilege(),
            "mininet": importlib.metadata.version("mininet"),
            "mnexec": "stand-in" if mnexec_command()[0] == "bash" else mnexec_command()[0],
        }

    def stop_programs(self) -> None:
        """Ends what `popen_at` started and what that started; the namespaces stay."""
        # also of those that have ended by themselves: their children may not have
        stop_groups({process.pid for process in self._processes}, self.journal.path)
        while self._processes:
            self._processes.pop().wait()

    def stop(self) -> None:
        """Ends programs, then nodes. Idempotent."""
        self.stop_programs()
        for host in self._hosts.values():
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.killpg(host.pid, signal.SIGHUP)  # as `terminate` does, to all first: they end side by side
        for name in list(self._hosts):
            self._hosts.pop(name).terminate()


def _seeing(names: Path) -> list[str]:
    """Runs the rest of a command line with a file in the place of the hosts file, in its own mount namespace."""
    return ["sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(names), HOSTS_FILE]


def _bring_loopback_up() -> None:
    with Interface("lo") as loopback:
        loopback.bring_up()


def _host_class(mark: Mapping[str, str], inside: int | None = None, names: Path | None = None) -> type[Host]:
    """Mininet's Host, told which mnexec to use instead of looking for one on PATH and exiting when there is none.

    `inside`: its shell runs in the network namespace of that process instead of a new one. The shell is this machine's,
    so an image needs none. `names`: the hosts file that its programs are to see.
    `mark` goes into the environment of its shell, so that `clean` knows it before its pid is written down.
    """
    node, log = load_mininet()
    if privilege() == "none":
        raise MachineCannot(f"nodes: network namespaces need root or a user namespace; {namespace_fix()}")
    for tool, package in (("nsenter", "util-linux"), ("unshare", "util-linux")):
        if shutil.which(tool) is None:
            raise MachineCannot(f"nodes: {tool} is not installed; apt-get install {package}")
    log.setLogLevel("error")

    class QuietHost(node.Host):  # type: ignore[misc,name-defined]  # Mininet carries no types
        slave: int  # the shell's end of its terminal

        @classmethod
        def setup(cls) -> None:
            """Replaces the check that exits the whole program; the tools were checked above."""

        def _popen(self, cmd: list[str], **params: Any) -> Any:
            command = [*mnexec_command(), *cmd[1:]] if cmd[0] == "mnexec" else cmd
            if inside is not None and self.shell is None:  # later ones enter the shell's namespace, which is the same
                command = enter(inside, command)
            elif names is not None and self.shell is None:
                command = [*mnexec_command(), cmd[1], *_seeing(names), *cmd[2:]]
            first = self.shell is None
            process = super()._popen(command, env={**of_programs(os.environ), **mark}, **params)
            if (
                first
            ):  # Mininet would wait for ever for a shell that has died, as long as this end of its terminal is open
                os.close(self.slave)
                self.slave = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # which Mininet closes in the end
            return process

    return QuietHost
