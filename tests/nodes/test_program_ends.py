"""Invariant 5: a node ends with its engine whatever it is doing, its worker with the node, and both say why they fail.

No engine here: the program runs as an ordinary process on loopback, and its standard input closes as if one had died.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.nodes.control import Beat, Connect, Failed, Ready
from testbed.system.processes import ending_with_this
from testbed.wire.tcp import CONNECT_S
from tests.nodes.loopback_node import Node

GONE_S = 5.0  # generous, for a machine with other work; a dial alone would take CONNECT_S
MODELS = {"draft": "tiny-draft"}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    made: list[Node] = []
    yield made
    for one in made:
        one.end()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + GONE_S
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return gone(pid)


def test_it_ends_with_its_engine_while_it_starts(nodes: list[Node], tmp_path: Path) -> None:
    nodes.append(Node(tmp_path, MODELS))
    nodes[0].close()
    assert nodes[0].process.wait(GONE_S) == 0


def test_it_ends_with_its_engine_while_models_are_loaded_and_so_does_its_worker(
    nodes: list[Node], tmp_path: Path
) -> None:
    nodes.append(Node(tmp_path, MODELS))
    worker = nodes[0].worker()
    nodes[0].close()
    assert nodes[0].process.wait(GONE_S) == 0
    assert is_gone_soon(worker)


def test_it_ends_with_its_engine_while_it_dials(nodes: list[Node], tmp_path: Path) -> None:
    nodes.append(Node(tmp_path, {}))
    nodes[0].until(Ready)
    nodes[0].send(Connect({"target0": "127.0.0.1"}, [], {"target0": b"k" * 32}))  # where nothing listens on that port
    nodes[0].until(Beat)
    nodes[0].close()
    assert nodes[0].process.wait(GONE_S) == 0
    assert GONE_S < CONNECT_S


def test_a_program_that_computes_without_end_ends_with_its_engine() -> None:
    code = "from testbed.nodes.commands import Commands; Commands(0); print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(GONE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_worker_ends_with_its_node_while_it_loads(nodes: list[Node], tmp_path: Path) -> None:
    nodes.append(Node(tmp_path, MODELS))
    worker = nodes[0].worker()
    nodes[0].process.kill()
    assert is_gone_soon(worker)


def test_a_module_whose_parent_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "testbed.system.processes", str(os.getppid()), "no.such.module"]
    assert subprocess.run(argv, timeout=60).returncode == 0
    assert subprocess.run(ending_with_this("no.such.module"), stderr=subprocess.DEVNULL, timeout=60).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("ready", [False, True], ids=["loading", "ready"])
def test_a_worker_that_is_killed_is_named_with_its_signal(nodes: list[Node], tmp_path: Path, ready: bool) -> None:
    nodes.append(Node(tmp_path, MODELS))
    worker = nodes[0].worker()
    if ready:
        nodes[0].until(Ready)
    os.kill(worker, signal.SIGKILL)
    assert nodes[0].until(Failed) == Failed("its model worker was killed (signal 9)", 3, "worker")
    assert "Traceback" not in nodes[0].log.read_text()


@pytest.mark.slow
def test_a_worker_whose_node_was_killed_ends_without_a_word(nodes: list[Node], tmp_path: Path) -> None:
    nodes.append(Node(tmp_path, MODELS))
    worker = nodes[0].worker()
    nodes[0].until(Ready)
    nodes[0].process.kill()
    assert is_gone_soon(worker)
    assert nodes[0].log.read_text() == ""


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{garbage\n", "DecodeError: JSON is malformed"),
        (b'{"type":"issue","requests":[]}\n', "AssertionError"),  # without a policy
        (b'{"type":"stop_policy","log_path":"x"}\n', "AssertionError"),
    ],
)
def test_what_fails_in_a_command_is_a_reply_in_one_line(
    nodes: list[Node], tmp_path: Path, raw: bytes, said: str
) -> None:
    nodes.append(Node(tmp_path, {}))
    nodes[0].until(Ready)
    nodes[0].send(None, raw)
    failed = nodes[0].until(Failed)
    assert isinstance(failed, Failed) and failed.cause == "own"
    assert failed.error.startswith(said) and "\n" not in failed.error
    assert nodes[0].process.wait(60) is not None
    assert "Traceback" in nodes[0].log.read_text()


def test_a_peer_that_cannot_be_reached_is_no_fault_of_the_node(nodes: list[Node], tmp_path: Path) -> None:
    nodes.append(Node(tmp_path, {}))
    nodes[0].until(Ready)
    nodes[0].send(Connect({"target0": "255.255.255.255"}, [], {"target0": b"k" * 32}))  # TCP refuses it at once
    failed = nodes[0].until(Failed)
    assert failed == Failed("cannot reach target0 at 255.255.255.255: Network is unreachable", 3, "peer")
