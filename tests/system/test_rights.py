"""Rights given up are gone for good: for the process, and for whatever it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.emulation import confinement
from testbed.emulation.confinement import Confinement, precede_compute
from testbed.nodes.priority import FIFO_PRIORITY, WORKER_NICENESS
from testbed.system import rights

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an ordinary process has no rights to give up")
SHOW = ["grep", "-E", "^(Cap|NoNewPrivs)", "/proc/self/status"]


def parsed(text: str) -> dict[str, str]:
    return dict(line.split(":\t") for line in text.splitlines())


@root_only
def test_a_program_started_without_rights_has_none_and_gets_none():
    out = subprocess.run(rights.started_without(SHOW), capture_output=True, text=True, check=True).stdout
    assert {parsed(out)[name] for name in SETS} == {"0" * 16}
    assert parsed(out)["NoNewPrivs"] == "1"


@root_only
def test_a_right_that_is_kept_is_the_only_one():
    out = subprocess.run(
        rights.started_without(SHOW, ["dac_read_search"]), capture_output=True, text=True, check=True
    ).stdout
    assert int(parsed(out)["CapEff"], 16) == int(parsed(out)["CapBnd"], 16) == 1 << 2  # linux/capability.h


def test_a_process_gives_up_its_rights_and_so_do_its_children():
    code = (
        "import subprocess, sys; from testbed.system.rights import give_up; give_up()\n"
        "print(open('/proc/self/status').read()); sys.stdout.flush(); subprocess.run(sys.argv[1:], check=True)"
    )
    out = subprocess.run([sys.executable, "-c", code, *SHOW], capture_output=True, text=True, check=True).stdout
    lines = [line for line in out.splitlines() if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb"))]
    assert len(lines) == 8
    assert {line.split(":\t")[1] for line in lines} == {"0" * 16}
    assert out.count("NoNewPrivs:\t1") == 2


def test_rights_are_not_given_up_by_one_thread_of_several():
    code = (
        "import threading, time; from testbed.system.rights import give_up\n"
        "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\n"
        "try: give_up()\n"
        "except RuntimeError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "all threads at once" in out


@root_only
def test_root_keeps_the_right_to_read_only_where_a_folder_is_closed_to_it(tmp_path, monkeypatch):
    """As with `sudo testbed` in a home folder of mode 0750."""
    monkeypatch.setattr(confinement, "privilege", lambda: "root")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert Confinement([model]).facts() == {}
    os.chown(model, 12345, 12345)
    model.chmod(0o750)
    assert Confinement([model]).facts() == {"dac_read_search": f"{model} is not readable by root without it"}
    command = Confinement([model]).command(["cat", str(model / "config.json")])
    assert subprocess.run(command, capture_output=True, text=True).stdout == "{}"
    os.chown(model, 0, 0)
    os.chown(model / "config.json", 12345, 12345)
    (model / "config.json").chmod(0o600)
    assert "config.json" in Confinement([model]).facts()["dac_read_search"]


@root_only
def test_priorities_are_given_from_outside():
    """The node and its worker have none, and could not take their places themselves."""
    argv = Confinement([]).command(["sh", "-c", "sleep 60 & echo $!; wait"])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as node:
        assert node.stdout is not None
        worker = int(node.stdout.readline())
        got = precede_compute({"node": node.pid}, [])
        niceness = os.getpriority(os.PRIO_PROCESS, worker)
        os.killpg(node.pid, signal.SIGKILL)
    if got["node"].startswith("nice"):
        pytest.skip("this kernel gives this group of processes no real-time budget (RT_GROUP_SCHED)")
    assert got == {"node": f"SCHED_FIFO {FIFO_PRIORITY}"}
    assert niceness == WORKER_NICENESS


def test_what_cannot_be_read_is_found_without_root_too(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    if os.geteuid() != 0:
        assert confinement._unreadable([Path("/"), closed / "x"]) == str(closed / "x")
    assert confinement._unreadable([Path("/")]) is None
