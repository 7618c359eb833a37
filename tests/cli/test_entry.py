"""However a command is ended, its status says so, and what becomes of its terminal changes nothing (invariant 5)."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from testbed.cli.entry import INTERRUPTED
from tests.sweep_examples import experiment

pytestmark = pytest.mark.slow  # a process each

LONG: dict[str, Any] = {"workload": {"prompts": "made-up", "requests": 200, "output_tokens": 200}, "matrix": None}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# a shell starts background jobs, this test session perhaps among them, with SIGINT ignored
DEFAULTS = ["env", "--default-signal=INT,HUP,TERM"]


def arguments(folder: Path, requests: int = 200) -> list[str]:
    path = experiment(folder, **{**LONG, "workload": {**LONG["workload"], "requests": requests}})
    return [sys.executable, "-m", "testbed", "run", str(path), "--engine", "simulation", "--out", str(folder / "runs")]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("runs/*") if path.name != "latest")


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        *((number, "speculative: ") for number in SIGNALS),
        *((signal.SIGTERM, moment) for moment in ("importing", "reading inputs", "drawing the report")),
    ],
)
def test_a_signal_ends_a_run_with_130_at_any_moment(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    requests = 5 if moment == "drawing the report" else 200  # which the others must not come to the end of
    process = subprocess.Popen(
        [*DEFAULTS, *arguments(tmp_path, requests)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    if moment == "importing":
        while b"testbed" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()[:200] or not handled(process.pid):
            time.sleep(0.002)
    else:
        for line in process.stderr:
            said += line
            if moment in line:
                break
    process.send_signal(number)
    said += process.stderr.read()
    assert process.wait(30) == INTERRUPTED, said
    assert "testbed: interrupted" in said and "Traceback" not in said
    assert [name for name in left(tmp_path) if name.startswith(".")] == []


def handled(pid: int) -> bool:
    """Whether the process catches SIGTERM yet, by proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
def test_signals_at_random_moments_never_change_the_status_nor_leave_half_a_run(tmp_path: Path) -> None:
    chance = random.Random(11)
    for trial in range(8):
        process = subprocess.Popen(
            [*DEFAULTS, *arguments(tmp_path, 30)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not handled(process.pid):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 3))
        process.send_signal(chance.choice(SIGNALS))
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, INTERRUPTED), f"{trial}: {said}"
        assert "Traceback" not in said and "ignored" not in said, said
    for run in left(tmp_path):
        assert not run.startswith(".")
        assert (tmp_path / "runs" / run / "report.html").is_file()


def on_terminal(command: list[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Started as a terminal's foreground process; the other end of the terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*DEFAULTS, "setsid", "-c", *command], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    return process, ours


def until(ours: int, words: bytes) -> None:
    said = b""
    while words not in said:
        said += os.read(ours, 4096)


@pytest.mark.parametrize("moment", [b"reading inputs", b"speculative"])
def test_a_closed_terminal_is_an_interrupt(tmp_path: Path, moment: bytes) -> None:
    process, ours = on_terminal(arguments(tmp_path))
    until(ours, moment)
    os.close(ours)
    assert process.wait(30) == INTERRUPTED
    assert left(tmp_path) == []


def test_a_run_that_ignores_hangups_goes_on_without_its_terminal(tmp_path: Path) -> None:
    command = arguments(tmp_path, requests=20)
    process, ours = on_terminal(["env", "--ignore-signal=HUP", *command])
    until(ours, b"reading inputs")
    os.close(ours)
    assert process.wait(60) == 0
    (run,) = left(tmp_path)
    assert (tmp_path / "runs" / run / "report.html").is_file()


def test_a_reader_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([*arguments(tmp_path, requests=5), "--json"], stdout=subprocess.PIPE, stderr=-1)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    complaints = process.stderr.read()
    assert process.wait(60) == 0, complaints
    assert b"Traceback" not in complaints and b"BrokenPipe" not in complaints


@pytest.mark.parametrize(("stdout", "stderr", "status"), [("/dev/full", None, 4), (None, "/dev/full", 0)])
def test_an_output_that_takes_no_more_is_an_error_and_messages_are_not(
    tmp_path: Path, stdout: str | None, stderr: str | None, status: int
) -> None:
    (tmp_path / "runs").mkdir()
    with Path(stdout or os.devnull).open("w") as out, Path(stderr or tmp_path / "said").open("w") as err:
        command = [sys.executable, "-m", "testbed", "runs", "list", "--out", str(tmp_path / "runs")]
        assert subprocess.run(command, stdout=out, stderr=err).returncode == status
    if stdout:
        (line,) = (tmp_path / "said").read_text().splitlines()
        assert line.startswith("testbed: output: no space left on device")
