"""A helper process: asked in lines, ended with its input, killed with its group; an error says what became of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RunInvalid
from testbed.system.helper import HelperEnded, HelperProcess, HelperSilent
from testbed.system.journal import Journal
from testbed.system.lines import Lines
from testbed.system.undoing import MARK

LONG_S = 60.0
PROGRAM = """
import os, subprocess, sys, time
for line in sys.stdin:
    word = line.strip()
    if word == "fail":
        print("as it went", file=sys.stderr)
        sys.exit("the third disk is full")
    if word == "child":
        print(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid, flush=True)
    elif word == "deaf":
        time.sleep(600)
    else:
        print(os.environ.get(word, word), flush=True)
        print("half a line", end="", flush=True)
        print(flush=True)
print("rest", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "helper_that_echoes.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("HUB_TOKEN", "secret")
    return tmp_path


@pytest.fixture(params=[False, True], ids=["by its input", "tied"])
def helper(folder: Path, request: pytest.FixtureRequest) -> Iterator[HelperProcess]:
    journal = Journal(folder / "attempt" / "journal.jsonl")
    one = HelperProcess("helper_that_echoes", journal=journal, tied=request.param)
    assert [entry.name for entry in journal.entries() if entry.kind == "group"] == [str(one.pid)]
    yield one
    one.end(0.0)
    journal.close()


def test_it_is_asked_in_lines_and_says_the_rest_at_its_end(helper: HelperProcess, folder: Path) -> None:
    helper.send(b"a\nHUB_TOKEN\n" + MARK.encode() + b"\n")
    assert helper.lines(5, LONG_S) == [b"a", b"half a line", b"HUB_TOKEN", b"half a line", bytes(_journal(folder))]
    assert helper.ended() is None
    assert helper.rest(LONG_S).splitlines() == [b"half a line", b"rest"]
    assert helper.ended() == "ended (status 0)"


def _journal(folder: Path) -> Path:
    return folder / "attempt" / "journal.jsonl"


def test_one_that_fails_is_quoted(helper: HelperProcess) -> None:
    helper.send(b"fail\n")
    with pytest.raises(HelperEnded, match=r"^the third disk is full$") as failed:
        helper.lines(1, LONG_S)
    assert failed.value.status == 1
    assert helper.ended() == "ended (status 1): the third disk is full"
    with pytest.raises(HelperEnded, match="the third disk"):
        helper.send(b"a\n" * 100_000)


def test_one_that_is_killed_is_named_by_its_signal(helper: HelperProcess) -> None:
    os.kill(helper.pid, signal.SIGKILL)
    with pytest.raises(HelperEnded, match=r"^its process was killed \(signal 9\)$"):
        helper.lines(1, LONG_S)


def test_one_that_is_silent_is_waited_for_so_long_and_ended_by_force(helper: HelperProcess) -> None:
    helper.send(b"child\ndeaf\n")
    child = int(helper.lines(1, LONG_S)[0])
    with pytest.raises(HelperSilent, match="has not replied for 0 s"):
        helper.lines(1, 0.2)
    with pytest.raises(HelperSilent):
        helper.rest(0.2)
    helper.end(0.1)
    assert helper.ended() == "was killed (signal 9)"
    deadline = time.monotonic() + LONG_S
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "what it started outlived its group"
        time.sleep(0.01)


def test_who_waits_looks_around(helper: HelperProcess) -> None:
    def check() -> None:
        raise RunInvalid("a node has died")

    helper.send(b"deaf\n")
    with pytest.raises(RunInvalid, match="a node has died"):
        helper.rest(LONG_S, check)


@given(st.lists(st.binary(max_size=6).filter(lambda line: b"\n" not in line)), st.binary(max_size=5), st.integers(1, 9))
def test_lines_are_those_of_the_whole_however_it_is_cut(whole: list[bytes], rest: bytes, size: int) -> None:
    rest = rest.replace(b"\n", b"")
    data = b"".join(line + b"\n" for line in whole) + rest
    lines, found = Lines(), []
    for at in range(0, len(data), size):
        found += lines.feed(data[at : at + size])
    assert (found, lines.rest()) == (whole, rest)
