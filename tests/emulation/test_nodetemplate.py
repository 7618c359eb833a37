"""A program forked from the template is as one started by itself, its end is known, and it does not outlive it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.emulation.nodetemplate import WARM, WARM_RECORDED, Forked, NodeTemplate
from testbed.errors import RunInvalid
from testbed.network.hosts import MininetHosts
from testbed.system.journal import Journal
from testbed.system.makers import start_time
from testbed.system.rights import CAPABILITIES, held
from testbed.system.template import NEEDS
from testbed.system.undoing import MARK

pytestmark = [
    pytest.mark.shaped,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a program is put into a network namespace"),
]

PROGRAM = """\
import json, os, signal, sys, time
from pathlib import Path

def main(what):
    facts = {
        "argv": sys.argv, "session": os.getsid(0), "group": os.getpgid(0), "pid": os.getpid(), "parent": os.getppid(),
        "network": os.readlink("/proc/self/ns/net"), "threads": len(os.listdir("/proc/self/task")),
        "command": Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").decode().split("\\0"),
        "open": sorted(int(one) for one in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{one}")),
        "status": dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()),
        "mark": os.environ.get("MARK"), "loaded": sorted(sys.modules),
    }
    print(json.dumps(facts), flush=True)
    print("for the log", file=sys.stderr)
    word = sys.stdin.readline().strip()
    if word == "raise":
        raise ValueError("by itself")
    if word == "exit":
        sys.exit(7)
    if word == "kill":
        os.kill(os.getpid(), signal.SIGTERM)
    return 3
""".replace("MARK", MARK)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / "template" / "journal.jsonl")
    yield journal
    journal.undo(remove_named)
    journal.close()


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal) -> Iterator[NodeTemplate]:
    (tmp_path / "alike.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    hosts = MininetHosts("template", journal)
    made = NodeTemplate(hosts, tmp_path / "template.log", [])
    try:
        yield made
    finally:
        made.end(time.monotonic() + 5)
        hosts.stop()


@pytest.mark.parametrize("warm", [WARM, WARM_RECORDED])
def test_a_fork_has_what_its_template_has_imported(
    warm: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal
) -> None:
    """Tables are only for nodes that answer from one: they cost memory."""
    (tmp_path / "alike.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    hosts = MininetHosts("template", journal)
    made = NodeTemplate(hosts, tmp_path / "template.log", [], warm)
    try:
        loaded = facts_of(started(made, tmp_path))["loaded"]
        assert {name for name in WARM_RECORDED if name in loaded} == set(warm)
    finally:
        made.end(time.monotonic() + 5)
        hosts.stop()


def started(template: NodeTemplate, folder: Path, name: str = "one", descriptor: int | None = None) -> Forked:
    return template.start(os.getpid(), "alike", Path(name), folder / f"{name}.log", descriptor)


def facts_of(program: Forked) -> dict:
    assert program.stdout is not None
    return json.loads(program.stdout.readline())


def told(program: Forked, word: str) -> int:
    assert program.stdin is not None
    program.stdin.write(f"{word}\n".encode())
    program.stdin.flush()
    return program.wait(10)


def test_a_fork_is_a_program_of_its_own(template: NodeTemplate, tmp_path: Path, journal: Journal) -> None:
    first, second = started(template, tmp_path), started(template, tmp_path, "two")
    for program, name in ((first, "one"), (second, "two")):
        facts = facts_of(program)
        assert facts["pid"] == facts["session"] == facts["group"] == program.pid
        assert facts["threads"] == 1
        assert facts["argv"] == ["alike", name]
        assert facts["command"][-4:] == ["testbed.system.processes", str(facts["parent"]), "alike", name]
        assert facts["open"] == [0, 1, 2]
        assert facts["network"] == str(Path("/proc/self/ns/net").readlink())
        assert facts["mark"] == str(journal.path)
        sets = {facts["status"][which].strip() for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert sets == {"0" * 16}
        assert facts["status"]["NoNewPrivs"].strip() == "1"
        assert ("group", str(program.pid)) in {(entry.kind, entry.name) for entry in journal.entries()}
    assert (tmp_path / "one.log").read_text() == "for the log\n"
    of_template = sum(1 << CAPABILITIES[name] for name in NEEDS)
    assert {held(which, facts["parent"]) for which in ("CapEff", "CapPrm", "CapBnd")} == {of_template}
    assert {held(which, facts["parent"]) for which in ("CapInh", "CapAmb")} == {0}


def test_it_inherits_one_descriptor_under_its_number(template: NodeTemplate, tmp_path: Path) -> None:
    read, write = os.pipe()
    number = os.dup2(write, 200)
    program = started(template, tmp_path, descriptor=number)
    assert facts_of(program)["open"] == [0, 1, 2, number]
    for one in (read, write, number):
        os.close(one)


@pytest.mark.parametrize(
    ("word", "status", "words"),
    [
        ("return", 3, ""),
        ("exit", 7, ""),
        ("raise", 1, "ValueError: by itself\n"),
        ("kill", -signal.SIGTERM, ""),
    ],
)
def test_how_it_ended_is_known(template: NodeTemplate, tmp_path: Path, word: str, status: int, words: str) -> None:
    program, other = started(template, tmp_path), started(template, tmp_path, "two")
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.01)
    assert told(program, word) == status
    assert program.poll() == program.wait() == status
    assert (tmp_path / "one.log").read_text().endswith(words)
    assert other.poll() is None
    other.kill()
    assert other.wait(10) == -signal.SIGKILL


def test_one_that_cannot_be_made_is_said_in_one_line(template: NodeTemplate, tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match=r"^a node program cannot be started: ModuleNotFoundError: .*nobody.*; log: "):
        template.start(os.getpid(), "nobody", Path("one"), tmp_path / "one.log")
    assert told(started(template, tmp_path, "two"), "return") == 3  # the others can


def test_all_end_with_their_template_whose_end_has_a_name(template: NodeTemplate, tmp_path: Path) -> None:
    program = started(template, tmp_path)
    os.kill(facts_of(program)["parent"], signal.SIGKILL)
    assert program.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while start_time(program.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert start_time(program.pid) is None
    assert template.ended() == {f"the node programs' template ({tmp_path / 'template.log'})": -signal.SIGKILL}
    with pytest.raises(RunInvalid, match=r"^the node programs' template \(.*template.log\) was killed \(signal 9\)$"):
        started(template, tmp_path, "two")
