"""A container as a Mininet host: known by any process in it, its namespace kept until the network goes."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.network.hosts import MininetHosts
from testbed.system.journal import Journal

pytestmark = pytest.mark.shaped


@pytest.fixture
def hosts(tmp_path):
    run = uuid.uuid4().hex[:6]
    journal = Journal(tmp_path / "state" / run / "journal.jsonl")
    hosts = MininetHosts(run, journal)
    yield hosts
    hosts.stop()
    journal.undo(remove_named)
    journal.close()


@pytest.fixture
def container():
    """Any process with its own network namespace."""
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def namespace(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net").readlink()


def test_the_hosts_shell_stands_in_the_containers_namespace_and_keeps_it(hosts, container):
    inside = namespace(container.pid)
    pid = hosts.add("a", container.pid)
    assert namespace(pid) == inside
    container.kill()
    container.wait()
    assert namespace(pid) == inside


def test_mininets_commands_run_there(hosts, container):
    hosts.add("a", container.pid)
    assert "1: lo" in hosts.host("a").cmd("ip -o link")
    shown, _, status = hosts.host("a").pexec("ip -o link")
    assert "1: lo" in shown and status == 0
