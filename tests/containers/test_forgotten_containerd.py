"""A killed daemon leaves the number of its containerd: the next one waits for no stranger and no dying process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from testbed.containers.daemon import Place, forget_containerd


@pytest.fixture
def left(tmp_path: Path) -> Path:
    file = tmp_path / "run" / "exec" / "containerd" / "containerd.pid"
    file.parent.mkdir(parents=True)
    return file


def place_of(left: Path) -> Place:
    return Place(left.parents[2], left.parents[3] / "data")


def serving(left: Path) -> subprocess.Popen[bytes]:
    """Returns when it runs: during exec a process has no command line for a moment."""
    config = left.with_name("containerd.toml")
    runs = "import time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", runs, str(config)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    return process


@pytest.mark.parametrize("number", ["{own}", "no number", ""])
def test_a_number_that_means_something_else_now_is_forgotten(left: Path, number: str) -> None:
    left.write_text(number.format(own=os.getpid()))
    forget_containerd(place_of(left))
    assert not left.exists()


def test_one_that_is_dying_is_waited_for_and_a_zombie_counts_as_dead(left: Path) -> None:
    with serving(left) as process:
        left.write_text(str(process.pid))
        killer = threading.Timer(0.2, process.send_signal, [signal.SIGKILL])
        killer.start()
        began = time.monotonic()
        forget_containerd(place_of(left), dying_s=30)
        assert time.monotonic() - began >= 0.2 and not left.exists()
        assert Path(f"/proc/{process.pid}").exists(), "nobody has waited for it, and it is forgotten all the same"


def test_one_that_lives_is_left_to_be_taken_over(left: Path) -> None:
    with serving(left) as process:
        left.write_text(str(process.pid))
        try:
            forget_containerd(place_of(left), dying_s=0.2)
            assert left.read_text() == str(process.pid)
        finally:
            process.kill()
