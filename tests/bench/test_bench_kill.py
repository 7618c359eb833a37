"""The kill trial's own rules: what it demands of a run, and that chance comes from the seed alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from testbed.bench.kill import LIVES, STAGES, Plan, Trial, came_too_late, expected_words, judge, plan, table
from testbed.bench.victims import COMMANDS, KINDS, family, victims

NODE = "node target0 was killed (signal 9)"
CONTAINER = "node target0: its container was killed (signal 9)"
GONE = "containers: the Docker daemon no longer answers"


@pytest.mark.parametrize(
    ("kind", "status", "ended_s", "said", "wrong"),
    [
        ("node", 3, 1.5, f"[ 1 s] reading inputs\ntestbed: {NODE}; log: x\n", ""),
        ("node", 4, 1.5, f"testbed: {NODE}\n", "status 4, not 3"),
        ("node", None, 1.5, f"testbed: {NODE}\n", "status None, not 3"),
        ("node", 3, 75.0, f"testbed: {NODE}\n", "ended after 75.0 s"),
        ("node", 3, 1.5, "testbed: node user0: the connection to target0 was lost\n", "did not say"),
        ("node", 3, 1.5, f"testbed: {NODE}\ntestbed: while taking down: x\n", "did not say"),
        ("node", 3, 1.5, f"Traceback (most recent call last)\ntestbed: {NODE}\n", "a traceback"),
        ("engine", -9, 0.3, "[ 1 s] reading inputs\n", ""),
        ("engine", -9, 8.0, "", "ended after 8.0 s"),
        ("engine", 0, 0.3, "", "status 0, not -9"),
        ("container", 3, 1.5, f"testbed: {CONTAINER}; log: x\n", ""),
        ("daemon", 4, 1.5, f"testbed: {GONE} (connection refused)\n", ""),
        ("daemon", 3, 1.5, f"testbed: {GONE} (connection refused)\n", "status 3, not 4"),
        ("daemon", 4, 1.5, f"testbed: {GONE}\ntestbed: while taking down: {GONE}\n", "did not say"),
    ],
)
def test_a_run_is_judged_by_status_time_and_words(
    kind: str, status: int | None, ended_s: float, said: str, wrong: str
) -> None:
    words = {"node": NODE, "container": CONTAINER, "daemon": GONE}.get(kind, "")
    problems = judge(kind, words, status, ended_s, said)  # type: ignore[arg-type]
    assert (wrong in problems[0] and len(problems) == 1) if wrong else not problems


def test_a_template_whose_programs_had_ended_is_no_trial() -> None:
    late = Plan(0, "template", "relay", "wanspec", "requests", 0.1, 0.5)
    went_on = "[ 6 s] wanspec: 2 requests\n[ 9 s] measuring the links again\n"
    assert came_too_late(late, went_on)
    assert not came_too_late(late, went_on.splitlines()[0])
    assert not came_too_late(late, f"{went_on}testbed: the node programs' template (x) was killed (signal 9)\n")
    assert not came_too_late(replace(late, kind="node"), went_on)  # of which no other process's end tells


def test_chance_comes_from_seed_and_number_and_kinds_take_turns() -> None:
    plans = [plan(number, 7, KINDS, ["relay", "lab"]) for number in range(200)]
    assert plans == [plan(number, 7, KINDS, ["relay", "lab"]) for number in range(200)]
    assert plans != [plan(number, 8, KINDS, ["relay", "lab"]) for number in range(200)]
    assert [one.kind for one in plans[: len(KINDS)]] == list(KINDS)
    assert all(one.stage in LIVES[one.kind] and 0 <= one.after_s <= STAGES[one.stage] for one in plans)
    assert {one.fabric for one in plans} == {"relay", "lab"}


def test_every_kind_has_words_of_its_own() -> None:
    said = [expected_words(kind, "relay", "target0") for kind in KINDS if kind != "engine"]
    assert all(said) and len(set(said)) == len(said)
    assert "guest kernel" in expected_words("fabric", "lab", "")


def test_the_table_counts_what_was_killed_and_what_ended_as_it_must() -> None:
    one = Plan(0, "node", "relay", "wanspec", "requests", 0.1, 0.5)
    trials = [Trial(one, "x", 3, 1.0, "", ()), Trial(one, "x", 4, 3.0, "", ("status",)), Trial(one, "", 0, 0, "", ())]
    assert [line.split() for line in table(trials).splitlines()[1:]] == [
        ["node", "2", "1", "2.00", "3.00"],
        ["all", "2", "1", "2.00", "3.00"],
    ]


def test_descendants_are_found_and_strangers_are_not() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', 'deep'])"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while not any(one.command.endswith("deep ") for one in family(os.getpid())):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not any(one.command.endswith("deep ") for one in family(1) if one.pid == os.getpid())
        assert [one.pid for one in victims("engine", child.pid)] == [child.pid]
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("template", "python -m testbed.system.processes 12 testbed.system.template 9 testbed.nodes.program "),
        ("node", "python -m testbed.system.processes 12 testbed.nodes.piped /x/.a.partial/logs/target0.json "),
        ("worker", "python -m testbed.system.processes 12 testbed.nodes.worker 7 "),
        ("fabric", "python -m testbed.network.relay.process "),
        ("fabric", "linux.uml rootfstype=hostfs rootflags=/ "),
        ("probe", "python -m testbed.system.processes 12 testbed.network.measure.watch_process "),
    ],
)
def test_command_lines_tell_the_kinds_apart(kind: str, command: str) -> None:
    assert [name for name, pattern in COMMANDS.items() if pattern.search(command)] == [kind]
    if kind == "node":
        found = COMMANDS["node"].search(command)
        assert found is not None and found["name"] == "target0"
