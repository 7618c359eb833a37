"""An engine of the testbed's own, started by hand where none runs: in CI, in Codespaces, without systemd.

Rule kept: it never touches an engine it did not start. What it started is known by pid and start time; its socket,
images and containers lie in two folders of its own. It makes no bridge and no firewall rules: nodes have no network
but the experiment's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from testbed.containers.engine import OWN_SOCKET, connect
from testbed.errors import MachineCannot
from testbed.network.journal import start_time
from testbed.network.userns import as_root

RUN = Path(OWN_SOCKET.removeprefix("unix://")).parent
DATA = Path("/var/lib/wan-testbed-engine")
PID_FILE = RUN / "engine.json"
LOG = RUN / "engine.log"
START_S = 40.0
STOP_S = 30.0
LOG_LINES_SHOWN = 3
INSTALL = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "docker.io")


def command() -> list[str]:
    """What is started. The engine starts a containerd of its own, below its own folders, and ends it as well."""
    return [
        *("dockerd", "--host", OWN_SOCKET, "--pidfile", str(RUN / "dockerd.pid")),
        *("--data-root", str(DATA), "--exec-root", str(RUN / "exec"), "--containerd", ""),
        # the kernel may have neither iptables nor bridges, and the nodes need neither
        *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none"),
    ]


def start(install: bool = False) -> bool:
    """Starts it and waits until it answers; False when it runs already. `install`: the package, where it is missing."""
    if running() is not None:
        return False
    _require_root()
    if shutil.which("dockerd") is None:
        if not install:
            raise MachineCannot("containers: dockerd is not installed; apt-get install docker.io")
        _install()
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / "dockerd.pid").unlink(missing_ok=True)  # of one that was killed: dockerd would believe it
    with LOG.open("wb") as log:
        engine = subprocess.Popen(
            command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    PID_FILE.write_text(json.dumps({"pid": engine.pid, "start": start_time(engine.pid)}))
    deadline = time.monotonic() + START_S
    while engine.poll() is None and time.monotonic() < deadline:
        try:
            connect(OWN_SOCKET).close()
        except MachineCannot:
            time.sleep(0.1)
        else:
            return True
    stop()
    end = " ".join(LOG.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
    raise MachineCannot(f"containers: the engine did not start; end of {LOG}: {end}")


def stop() -> bool:
    """Ends the engine that `start` started, its containers with it; False when there is none."""
    pid = running()
    if pid is None:
        return False
    _require_root()
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while running() is not None:
        if time.monotonic() > deadline:
            raise MachineCannot(f"containers: the engine (process {pid}) does not end; see {LOG}")
        _reap(pid)
        time.sleep(0.05)
    PID_FILE.unlink(missing_ok=True)
    return True


def remove() -> None:
    """Stops it and deletes its images and everything else of it."""
    _require_root()
    stop()
    for folder in (RUN, DATA):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise MachineCannot(f"containers: {folder} cannot be deleted; is something of it still mounted?")


def running() -> int | None:
    """Pid of the engine that `start` started and that still lives."""
    try:
        known = json.loads(PID_FILE.read_text())
    except (OSError, ValueError):
        return None
    pid, started = int(known["pid"]), known["start"]
    return pid if started is not None and start_time(pid) == started else None


def _require_root() -> None:
    if os.geteuid() != 0:
        raise MachineCannot(f"containers: an engine of the testbed's own is root's; {as_root()}")


def _install() -> None:
    if shutil.which("apt-get") is None:
        raise MachineCannot("containers: dockerd is not installed, and there is no apt-get to install docker.io with")
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
