"""A private Docker daemon, started by hand where none is running: in CI, in Codespaces, without systemd.

Rule kept: it never touches a daemon it did not start. What it started is known by pid and start time; its socket,
images and containers are in two separate folders. It makes no bridge and no firewall rules: nodes have no network
but the experiment's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from testbed.containers.engine import OWN_SOCKET, connect
from testbed.errors import MachineCannot
from testbed.system.makers import start_time
from testbed.system.userns import as_root

START_S = 40.0
STOP_S = 30.0
DYING_S = 10.0  # of the containerd of a dockerd that was killed: the kernel ends it, a moment later
LOG_LINES_SHOWN = 3
INSTALL = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "docker.io")


@dataclass(frozen=True)
class Place:
    """The two folders of one engine: what it is while it runs, and what it keeps. A socket's path has 107 bytes."""

    run: Path
    data: Path

    @property
    def socket(self) -> str:
        return f"unix://{self.run / 'docker.sock'}"

    @property
    def pid_file(self) -> Path:
        return self.run / "engine.json"

    @property
    def log(self) -> Path:
        return self.run / "engine.log"


OWN = Place(Path(OWN_SOCKET.removeprefix("unix://")).parent, Path("/var/lib/wan-testbed-engine"))


def command(place: Place) -> list[str]:
    """What is started. The engine starts its own containerd, below its own folders, and ends it as well."""
    return [
        *("dockerd", "--host", place.socket, "--pidfile", str(place.run / "dockerd.pid")),
        *("--data-root", str(place.data), "--exec-root", str(place.run / "exec"), "--containerd", ""),
        # the kernel may have neither iptables nor bridges, and the nodes need neither
        *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"),
    ]


def start(install: bool = False, place: Place = OWN) -> bool:
    """Starts it and waits until it answers; False when it runs already. `install`: the package, where it is missing."""
    if running(place) is not None:
        return False
    _require_root()
    if shutil.which("dockerd") is None:
        if not install:
            raise MachineCannot("containers: dockerd is not installed; apt-get install docker.io")
        _install()
    place.run.mkdir(parents=True, exist_ok=True)
    (place.run / "dockerd.pid").unlink(missing_ok=True)  # of one that was killed: dockerd would believe it
    forget_containerd(place)
    with place.log.open("wb") as log:
        engine = subprocess.Popen(
            command(place), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    place.pid_file.write_text(json.dumps({"pid": engine.pid, "start": start_time(engine.pid)}))
    deadline = time.monotonic() + START_S
    while engine.poll() is None and time.monotonic() < deadline:
        try:
            connect(place.socket).close()
        except MachineCannot:
            time.sleep(0.1)
        else:
            return True
    stop(place)
    end = " ".join(place.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
    raise MachineCannot(f"containers: the private Docker daemon did not start; end of {place.log}: {end}")


def forget_containerd(place: Place, dying_s: float = DYING_S) -> None:
    """Of one that was killed: dockerd takes any process of that number for a containerd, also one that is dying.

    One that still lives after `dying_s` is left for dockerd to take over.
    """
    file = place.run / "exec" / "containerd" / "containerd.pid"
    deadline = time.monotonic() + dying_s
    while _serves(file):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    file.unlink(missing_ok=True)


def _serves(file: Path) -> bool:
    """Whether the process that the file names runs with the configuration beside it; a zombie runs nothing."""
    try:
        command = Path(f"/proc/{int(file.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return str(file.with_name("containerd.toml")).encode() in command


def stop(place: Place = OWN) -> bool:
    """Ends the engine that `start` started, its containers with it; False when there is none."""
    pid = running(place)
    if pid is None:
        return False
    _require_root()
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while running(place) is not None:
        if time.monotonic() > deadline:
            raise MachineCannot(f"containers: the private Docker daemon (process {pid}) does not stop; see {place.log}")
        _reap(pid)
        time.sleep(0.05)
    place.pid_file.unlink(missing_ok=True)
    return True


def remove(place: Place = OWN) -> None:
    """Stops it and deletes its images and everything else of it."""
    _require_root()
    stop(place)
    for folder in (place.run, place.data):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise MachineCannot(f"containers: {folder} cannot be deleted; is something below it still mounted?")


def running(place: Place = OWN) -> int | None:
    """Pid of the engine that `start` started and that still lives."""
    try:
        known = json.loads(place.pid_file.read_text())
    except (OSError, ValueError):
        return None
    pid, started = int(known["pid"]), known["start"]
    return pid if started is not None and start_time(pid) == started else None


def _require_root() -> None:
    if os.geteuid() != 0:
        raise MachineCannot(f"containers: a private Docker daemon needs root; {as_root()}")


def _install() -> None:
    if shutil.which("apt-get") is None:
        raise MachineCannot("containers: dockerd is not installed, and there is no apt-get to install docker.io")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)  # the lists here may do
    done = subprocess.run(INSTALL, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["apt-get said nothing"]
        raise MachineCannot(f"containers: docker.io cannot be installed: {said[-1]}")


def _reap(pid: int) -> None:
    """Only for a caller that started the engine itself: an ended child stays a zombie until it is waited for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
