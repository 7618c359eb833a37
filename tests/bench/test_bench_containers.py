"""The bench of containers: left out with the reason where there can be none; a program that ends is not a healthy
node."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.bench import containers
from testbed.errors import MachineCannot
from testbed.nodes.control import Beat, NodeConfig, Ready, line

CONFIG = NodeConfig("n0", "here", "10.0.0.1")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything: each test takes one thing away."""
    closing = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(containers, "privilege", lambda: "root")
    monkeypatch.setattr(containers, "resolve_fabric", lambda name: ("relay", "because"))
    monkeypatch.setattr(containers, "connect", lambda: closing)
    monkeypatch.setattr(containers, "for_roles", lambda client, roles: {"drafter": "image"})
    monkeypatch.setattr(containers, "machine_lock", contextlib.nullcontext)
    monkeypatch.setattr(containers, "bring_up", lambda client, image, fabric: (image, fabric))


def test_a_machine_that_has_everything_is_measured(engine: None) -> None:
    assert containers.container_figures() == [("image", "relay")]


@pytest.mark.parametrize("what", ["connect", "for_roles", "resolve_fabric"])
def test_what_is_missing_is_said(
    engine: None, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> None:
        raise MachineCannot(f"no {what}; fix it")

    monkeypatch.setattr(containers, what, missing)
    assert containers.container_figures() == []
    assert f"bench: containers are left out: no {what}; fix it" in capsys.readouterr().err


def test_an_ordinary_user_is_told_that_containers_need_root(
    engine: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(containers, "privilege", lambda: "user namespace")
    assert containers.container_figures() == []
    assert "need root" in capsys.readouterr().err


def nodes_that_say(*replies: bytes) -> Any:
    program = SimpleNamespace(lines=lambda: iter(replies), status=lambda: 1, send=lambda data: None)
    return SimpleNamespace(programs={"n0": program})


def test_a_node_is_healthy_when_it_says_that_it_is_ready() -> None:
    containers.answers(nodes_that_say(line(Beat()), line(Ready({}, 0.0, "SCHED_OTHER"))), CONFIG)


def test_a_program_that_ends_first_fails_the_measurement() -> None:
    with pytest.raises(MachineCannot, match="n0 ended before it was ready"):
        containers.answers(nodes_that_say(line(Beat())), CONFIG)
