"""A policy's fault at a node: one reply with the policy's own line, the traceback in the log (as in a simulation)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.decoding.sampling import Sampling
from testbed.nodes.control import Connect, Connected, Failed, Issue, PolicyStarted, Ready, StartPolicy
from testbed.wire.greeting import keys_of
from testbed.workload.planned import PlannedRequest
from tests.nodes.loopback_node import Node
from tests.policies.elsewhere import install, line_of

PEERS = {"user": ["user0"], "target": ["target0"]}
SECRET = b"s" * 32


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, Node]]:
    """User and target, connected; policies may come from the test's folder. No models: none is asked for any."""
    made = {name: Node(tmp_path, {}, name, {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}) for name in ROLES}
    try:
        for one in made.values():
            one.until(Ready)
        made["target0"].send(Connect({}, ["user0"], keys_of(SECRET, "target0", ["user0"])))
        dial = {"target0": made["target0"].address}
        made["user0"].send(Connect(dial, [], keys_of(SECRET, "user0", ["target0"])))
        for one in made.values():
            one.until(Connected)
        yield made
    finally:
        for one in made.values():
            one.end()


ROLES = {"user0": "user", "target0": "target"}


def start(node: Node, folder: Path, name: str) -> None:
    rows = folder / f"{name}.rows"
    node.send(StartPolicy("mine", "elsewhere", {}, ROLES[name], PEERS, 0, (1, 1), str(rows)))


def test_what_a_role_raises_on_a_message(nodes: dict[str, Node], tmp_path: Path) -> None:
    module = install(tmp_path, "return {}['x']")
    for name, one in nodes.items():
        start(one, tmp_path, name)
        one.until(PolicyStarted)
    nodes["user0"].send(Issue([PlannedRequest(1, "p", (5, 6), 4, Sampling(), (), None)]))
    failed = nodes["target0"].until(Failed)
    who = "policy mine (elsewhere), role target at target0"
    line = f"{who}, on MessageReceived(Request from user0) of request 1: KeyError: 'x'; at {line_of(module, '{}[')}"
    assert failed == Failed(line, 3, "policy")
    assert "Traceback" in nodes["target0"].log.read_text()


def test_a_role_that_cannot_be_made(nodes: dict[str, Node], tmp_path: Path) -> None:
    module = install(tmp_path, "return []", init="{}['x']")
    start(nodes["target0"], tmp_path, "target0")
    failed = nodes["target0"].until(Failed)
    who = "policy mine (elsewhere), role target at target0"
    line = f"{who}, when it was made: KeyError: 'x'; at {line_of(module, '{}[')}"
    assert failed == Failed(line, 3, "policy")
    assert nodes["target0"].process.wait(60) == 3
    assert "Traceback" in nodes["target0"].log.read_text()
