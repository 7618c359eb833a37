"""A fleet of containers that cannot be made whole, or is interrupted, leaves nothing open; no engine is needed here."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'docker>=7.1'")

from docker.errors import DockerException

from testbed.containers import nodes
from testbed.containers.images import Image
from testbed.containers.specification import Wanted
from testbed.errors import MachineCannot
from testbed.system.journal import Journal

NOBODYS_PID = 2**22 + 1  # beyond PID_MAX_LIMIT, include/linux/threads.h
IMAGE = Image("wan-testbed/drafter:1", "sha256:abc", "10001:10001", 1, {})


def test_a_process_of_another_container_is_not_taken_for_this_ones():
    assert not nodes.belongs(os.getpid(), "0123456789abcdef")


def test_a_number_that_is_nobodys_here_is_no_crash():
    assert not nodes.belongs(NOBODYS_PID, "")


class Api:
    """An engine that starts one container whose process nobody here has; the others it refuses."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def create_container_from_config(self, config: Any, name: str) -> dict[str, str]:
        if self.made:
            raise DockerException("no more")
        self.made.append(name)
        return {"Id": "0123456789abcdef"}

    def start(self, identity: str) -> None: ...

    def inspect_container(self, identity: str) -> dict[str, Any]:
        return {"State": {"Pid": NOBODYS_PID, "Running": True}}


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "state" / "r1" / "journal.jsonl")
    monkeypatch.setattr(nodes, "facts", lambda client: {})
    monkeypatch.setattr(nodes, "address_of", lambda client: "unix:///nowhere.sock")
    monkeypatch.setattr(nodes, "remove", lambda client, name, run: False)

    def made(*names: str) -> nodes.ContainerNodes:
        wanted = [Wanted("r1", name, IMAGE, nodes.exchange_folder(journal, name)) for name in names]
        client: Any = SimpleNamespace(api=Api())
        return nodes.ContainerNodes(client, journal, wanted)

    yield made
    journal.close()


def listens(path: Path) -> bool:
    """Bound through a shorter name: a socket's path has room for 108 bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        folder = os.open(path.parent, os.O_PATH)
        try:
            return asking.connect_ex(f"/proc/self/fd/{folder}/{path.name}") == 0
        finally:
            os.close(folder)


def test_an_engine_that_numbers_processes_differently_is_said(fleet):
    with pytest.raises(MachineCannot, match="is in another PID namespace"), fleet("a"):
        pass


def test_a_fleet_that_cannot_be_made_whole_leaves_no_control_socket_open(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "belongs", lambda pid, container: True)
    with pytest.raises(MachineCannot, match="did not start"), fleet("a", "b"):
        pass
    sockets = sorted(tmp_path.rglob("control.sock"))
    assert len(sockets) == 2
    assert not any(map(listens, sockets))


@pytest.fixture
def interrupts():
    """As in a session started from a terminal, however this one was."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_after_an_interrupt_no_container_is_still_being_made(fleet, monkeypatch, interrupts):
    """What came into being after the removal would stay."""
    begun, ended = [], []

    def start(self, one):
        begun.append(one.node)
        if len(begun) == nodes.AT_ONCE:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        ended.append(one.node)

    monkeypatch.setattr(nodes.ContainerNodes, "_start", start)
    monkeypatch.setattr(nodes, "remove", lambda client, name, run: begun.append("removed"))
    names = [f"n{number}" for number in range(3 * nodes.AT_ONCE)]
    with pytest.raises(KeyboardInterrupt), fleet(*names):
        pass
    started = begun[: begun.index("removed")]
    assert sorted(started) == sorted(ended)
    assert len(started) < len(names)
    assert begun.count("removed") == len(names)
