"""A User-Mode Linux kernel as a switch: started on packet sockets, steered over serial lines, ended without a trace.

Line 1 is a shell, line 2 the standing program `netlink`, which takes fifty thousand changes a second; its input
comes as files, because a serial line of this kernel stalls for good when more than 4 KB wait in it. The guest's root is
the host's tree, read-only, so it has the host's own `ip` and `tc`; see `guest.sh`. What the kernel writes on the
host is in one job directory.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.network.lab.netlink import END, WHOLE, read_answer, write_requests
from testbed.system.helper import HelperProcess
from testbed.system.journal import Journal
from testbed.system.lines import Lines
from testbed.system.netlink import Answer, Refusal
from testbed.system.processes import from_shell

GUEST = Path(__file__).with_name("guest.sh")
GUEST_MODULES = Path(__file__).with_name("modules.py")
KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
MEMORY = "256M"  # of which an idle switch touches about 60
BOOT_LIMIT_S = 30.0
STOP_PATIENCE_S = 3.0
VECTOR_OPTIONS = "depth=256,vec=1"  # packets taken from a socket in one system call
LINE_1, LINE_2 = "ssl1", "ssl2"  # serial lines, /dev/ttyS1 and /dev/ttyS2 inside


def missing_parts() -> list[str]:
    """What this machine lacks for the lab, as the commands that fix it."""
    fixes = []
    if shutil.which(KERNEL) is None or not MODULES.is_dir():
        fixes.append("apt-get install user-mode-linux")
    if any(shutil.which(tool) is None for tool in ("ip", "tc", "bridge")):
        fixes.append("apt-get install iproute2")
    if any(shutil.which(tool) is None for tool in ("mount", "stty", "bash")):
        fixes.append("apt-get install util-linux coreutils bash")
    return fixes


def memory_directory() -> str:
    """Where the guest's memory lies, as a file without a name: it is mapped executable, which forbids noexec mounts."""
    candidates = ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), "/tmp")
    for path in candidates:
        if os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_NOEXEC:
            return path
    raise MachineCannot(
        f"lab: none of {', '.join(dict.fromkeys(candidates))} allows executables; fix: mount -o remount,exec /dev/shm, "
        "or start the container with --tmpfs /tmp:exec"
    )


class Line:
    """One serial line, as text."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lines = Lines()
        self._whole: deque[bytes] = deque()

    def send(self, text: str) -> None:
        self._end.sendall(text.encode())

    def receive(self, deadline: float) -> str:
        """The next line, without its end; EOFError when the guest is gone, TimeoutError after the deadline."""
        while not self._whole:
            self._end.settimeout(max(0.01, deadline - time.monotonic()))
            data = self._end.recv(1 << 16)
            if not data:
                raise EOFError
            self._whole += self._lines.feed(data)
        return self._whole.popleft().decode(errors="replace").rstrip("\r")

    def close(self) -> None:
        self._end.close()


class LabKernel:
    """A running guest whose devices vec0, vec1, ... are the given sockets, joined by a bridge."""

    def __init__(self, job: Path, sockets: Sequence[socket.socket], files: Mapping[str, str], journal: Journal) -> None:
        """`job` is an existing directory of this run; `files` are written there for the guest to read."""
        self._job = job
        self._files = 0
        self._loaded: Path | None = None  # the file of what was prepared last
        for source in (GUEST, GUEST_MODULES):  # copies: the kernel's command line cannot name a path with spaces in it
            shutil.copyfile(source, job / source.name)
            (job / source.name).chmod(0o755)
        for name, text in {**files, "settings": _settings()}.items():
            (job / name).write_text(text)
        shell, guest_shell = socket.socketpair()
        answers, guest_answers = socket.socketpair()
        self._shell, self._answers = Line(shell), Line(answers)
        inherited = [guest_shell, guest_answers, *sockets]
        self._keeper = HelperProcess(
            "testbed.network.lab.keeper",
            os.getpid(),
            ",".join(str(end.fileno()) for end in inherited),
            *_command(job, guest_shell, guest_answers, sockets),
            journal=journal,
            speaks=False,
            log=job / "log",
            pass_fds=[end.fileno() for end in inherited],
            env={"TMPDIR": memory_directory()},
        )
        guest_shell.close()
        guest_answers.close()

    @property
    def pid(self) -> int:
        """Leader of the process group of everything the guest consists of; in the journal."""
        return self._keeper.pid

    @property
    def status(self) -> int | None:
        """Exit status of the guest, below 0 for a signal, once it has ended; None while it runs."""
        status = self._keeper.status
        return None if status is None else from_shell(status)

    @property
    def processors(self) -> list[int]:
        """Those it may use; see keeper.take_precedence."""
        return sorted(os.sched_getaffinity(self.pid))

    @property
    def priority(self) -> str:
        policy = os.sched_getscheduler(self.pid)
        return f"SCHED_FIFO {os.sched_getparam(self.pid).sched_priority}" if policy == os.SCHED_FIFO else "SCHED_OTHER"

    def wait_until_booted(self) -> None:
        deadline = time.monotonic() + BOOT_LIMIT_S
        try:
            while self._shell.receive(deadline) != "=== ready":
                pass
            while self._answers.receive(deadline) != END:
                pass
        except (OSError, EOFError) as error:
            raise MachineCannot(f"lab: the kernel did not boot: {self._last_words()}") from error
        complaints = [line for line in self._log() if line.startswith("lab: ")]
        if complaints:
            raise MachineCannot(complaints[0])

    def ask(self, command: str, silence_s: float = BOOT_LIMIT_S) -> str:
        """Runs one shell command inside, and returns what it printed; MachineCannot when it fails.

        So is a command that has had nothing to say for `silence_s`.
        """
        self._shell.send(command + "\n")
        lines: list[str] = []
        while not (line := self._receive(self._shell, silence_s)).startswith("=== "):
            lines.append(line)
        if line != "=== 0":
            raise MachineCannot(f"lab: {command!r} failed inside the lab's kernel: {' '.join(lines)}")
        return "\n".join(lines)

    def tc(self, lines: Sequence[str]) -> None:
        """Carries out `tc -batch` lines; MachineCannot when tc refused one."""
        with self._file("".join(f"{line}\n" for line in lines).encode()) as path:
            self.ask(f"tc -batch {shlex.quote(str(path))}")

    def prepare(
        self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]
    ) -> Callable[[], dict[int, Answer]]:
        """As RouteSocket.prepare, inside: the requests are there already when they are to be carried out.

        Only the last ones prepared are.
        """
        if self._loaded is not None:
            self._loaded.unlink(missing_ok=True)
        self._loaded = path = self._written(write_requests(requests, reset_bytes, wanted))
        self._send(f"load {path}")
        return functools.partial(self._carry_out, path)

    def dump_qdiscs(self) -> list[bytes]:
        """As RouteSocket.dump_qdiscs, inside."""
        return [answer for _, answer in self._netlink("dump") if isinstance(answer, bytes)]

    def stop(self) -> None:
        """Ends the guest; there is nothing in it to keep."""
        self._shell.close()
        self._answers.close()
        self._keeper.terminate()
        self._keeper.end(STOP_PATIENCE_S)

    def _carry_out(self, path: Path) -> dict[int, Answer]:
        if path != self._loaded:
            raise RuntimeError("other requests have been prepared since")
        try:
            return dict(self._netlink("go"))
        finally:
            path.unlink(missing_ok=True)

    def _netlink(self, command: str) -> Iterator[tuple[int, Answer]]:
        self._send(command)
        failed: Refusal | None = None
        while (line := self._receive(self._answers)) != END:
            position, answer = read_answer(line)
            if position == WHOLE and isinstance(answer, Refusal):
                failed = answer
            else:
                yield position, answer
        if failed:
            raise MachineCannot(f"lab: netlink failed inside the lab's kernel: {failed.text}; see testbed doctor")

    @contextlib.contextmanager
    def _file(self, contents: bytes) -> Iterator[Path]:
        path = self._written(contents)
        try:
            yield path
        finally:
            path.unlink()

    def _written(self, contents: bytes) -> Path:
        """A file for the guest to read once; of a new name each time, as it may have cached an old one."""
        self._files += 1
        path = self._job / f"input-{self._files}"
        path.write_bytes(contents)
        return path

    def _send(self, command: str) -> None:
        try:
            self._answers.send(command + "\n")
        except OSError as error:
            raise MachineCannot(
                f"lab: the lab's kernel does not reply: {self._last_words()}; see testbed doctor"
            ) from error

    def _receive(self, line: Line, silence_s: float = BOOT_LIMIT_S) -> str:
        try:
            return line.receive(time.monotonic() + silence_s)
        except (OSError, EOFError) as error:
            raise MachineCannot(
                f"lab: the lab's kernel does not reply: {self._last_words()}; see testbed doctor"
            ) from error

    def _log(self) -> list[str]:
        text = (self._job / "log").read_text(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _last_words(self) -> str:
        return self._keeper.last_words() or "it said nothing"


def _settings() -> str:
    """For the guest's shell."""
    package = Path(__file__).parents[3]
    return f"python={shlex.quote(sys.executable)}\npackage={shlex.quote(str(package))}\n"


def _command(job: Path, shell: socket.socket, answers: socket.socket, sockets: Sequence[socket.socket]) -> list[str]:
    return [
        KERNEL,
        *("rootfstype=hostfs", "rootflags=/", "ro", f"init={job / GUEST.name}", f"LAB_JOB={job}"),
        *(f"mem={MEMORY}", f"uml_dir={job}/", "umid=lab", "noreboot", "quiet"),
        *("con=null", "con0=null,fd:1"),
        *(f"{LINE_1}=fd:{shell.fileno()}", f"{LINE_2}=fd:{answers.fileno()}"),
        *(f"vec{i}:transport=fd,fd={end.fileno()},{VECTOR_OPTIONS}" for i, end in enumerate(sockets)),
    ]
