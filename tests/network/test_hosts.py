"""A node is a namespace with an orderly life: programs keep pipes and exit codes, and nothing outlives `stop`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from testbed.errors import BadInput, RunInvalid
from testbed.network.hosts import STAND_IN, MininetHosts, enter
from testbed.system.journal import Journal
from testbed.system.makers import start_time

pytestmark = pytest.mark.shaped


def namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def interfaces(pid: int | None = None) -> set[str]:
    argv = ["ip", "-j", "link", "show"]
    shown = subprocess.run(argv if pid is None else enter(pid, argv), capture_output=True, check=True).stdout
    return {link["ifname"] for link in json.loads(shown)}


def test_a_node_has_a_namespace_of_its_own_with_only_a_loopback(hosts: MininetHosts) -> None:
    pid = hosts.add("a")
    assert namespace(pid) != namespace(os.getpid())
    assert interfaces(pid) == {"lo"}


@pytest.mark.timeout(60)
def test_a_container_that_has_ended_is_an_error_and_no_endless_wait(hosts: MininetHosts) -> None:
    """Mininet reads from the shell that it starts until the shell says something."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(RunInvalid, match="node a: its container ended before its link was made"):
        hosts.add("a", ended.pid)
    assert interfaces(hosts.add("b")) == {"lo"}


def test_a_program_keeps_its_pipes_environment_and_exit_code(hosts: MininetHosts) -> None:
    program = hosts.popen_at(
        hosts.add("a"), ["sh", "-c", 'read x; echo "$x$Y"; exit 7'], stdin=-1, stdout=-1, env={**os.environ, "Y": "!"}
    )
    assert program.communicate(b"hello\n") == (b"hello!\n", None)
    assert program.returncode == 7


def test_a_program_runs_in_the_namespace_and_under_the_pid_we_know(hosts: MininetHosts) -> None:
    pid = hosts.add("a")
    program = hosts.popen_at(pid, ["sh", "-c", "echo $$; readlink /proc/self/ns/net"], stdout=-1, text=True)
    own_pid, entered = program.communicate()[0].split()
    assert int(own_pid) == program.pid
    assert entered == namespace(pid)


def test_stop_ends_programs_their_children_and_the_node(hosts: MininetHosts) -> None:
    node = hosts.add("a")
    program = hosts.popen_at(node, ["sh", "-c", "sleep 60 >/dev/null & echo $!"], stdout=-1, text=True)
    assert program.stdout is not None
    child = int(program.stdout.readline())
    program.wait()
    assert start_time(child) is not None
    hosts.stop()
    hosts.stop()
    assert start_time(child) is None
    assert start_time(node) is None


def test_a_node_given_twice_is_refused(hosts: MininetHosts) -> None:
    hosts.add("a")
    with pytest.raises(BadInput, match="node 'a' is given twice"):
        hosts.add("a")


def test_nodes_made_together_are_as_those_made_one_by_one(hosts: MininetHosts, journal: Journal) -> None:
    names = [f"n{index}" for index in range(20)]
    pids = hosts.add_all(dict.fromkeys(names))
    assert [hosts.host(name).pid for name in names] == pids
    assert len({namespace(pid) for pid in pids}) == 20
    assert {("group", str(pid)) for pid in pids} <= {(entry.kind, entry.name) for entry in journal.entries()}
    hosts.stop()
    assert [start_time(pid) for pid in pids] == [None] * 20


def test_one_of_many_that_cannot_be_made_leaves_the_others_to_be_stopped(hosts: MininetHosts, run_id: str) -> None:
    def shells() -> int:
        found = subprocess.run(["pgrep", "-fc", f"mininet:{run_id}-n"], capture_output=True, text=True)
        return int(found.stdout)

    hosts.add("n3")
    with pytest.raises(BadInput, match="node 'n3' is given twice"):
        hosts.add_all({f"n{index}": None for index in range(6)})
    assert shells() > 1
    hosts.stop()
    assert shells() == 0


def test_everything_made_is_in_the_journal(hosts: MininetHosts, journal: Journal) -> None:
    node = hosts.add("a")
    program = hosts.popen_at(node, ["sleep", "60"])
    written = {(entry.kind, entry.name) for entry in journal.entries()}
    assert {("group", str(node)), ("group", str(program.pid))} <= written


def test_the_stand_in_for_mnexec_enters_the_namespaces_of_a_pid(hosts: MininetHosts) -> None:
    pid = hosts.add("a")
    argv = ["bash", str(STAND_IN), "-da", str(pid), "readlink", "/proc/self/ns/net"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == namespace(pid)
    assert subprocess.run(["bash", str(STAND_IN), "-g", "x", "true"], capture_output=True).returncode != 0


def test_a_node_carries_the_journals_mark_from_its_first_moment(hosts: MininetHosts, journal: Journal) -> None:
    """A run killed before it could write the node's pid down would leave it otherwise."""
    pid = hosts.add("a")
    ((name, value),) = journal.environment.items()
    assert f"{name}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
