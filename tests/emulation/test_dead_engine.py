"""A container engine that dies takes the clean-up with it, and yet the run says why it ended, once."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.containers.engine import check, explained
from testbed.emulation.culprit import NodeFacts
from testbed.emulation.deployment import Deployment
from testbed.errors import MachineCannot, NoEngine, RunInvalid
from testbed.system.interrupt import taking_down


class OutOfReach:
    """A node whose engine no longer answers."""

    awaits_status = False

    def facts(self) -> NodeFacts:
        return NodeFacts("user0")

    def ask_to_end(self) -> None:
        raise MachineCannot("container of node user0: connection refused")


def test_nodes_that_cannot_be_ended_are_a_note_of_the_error_that_ended_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused: Any = SimpleNamespace(seed=0)
    network: Any = SimpleNamespace(died=lambda: None)
    deployment = Deployment(unused, network, tmp_path)
    out_of_reach: Any = OutOfReach()
    monkeypatch.setattr(deployment, "_bring_up", lambda: deployment.nodes.update(user0=out_of_reach))
    with pytest.raises(RunInvalid, match="node target0 ended") as caught, deployment:
        raise RunInvalid("node target0 ended")
    assert caught.value.__notes__ == ["while taking down: container of node user0: connection refused"]


def test_an_engine_that_has_gone_is_said_once() -> None:
    """Nothing can be removed for the very reason that ended the run: no note of it; of anything else there is."""
    with pytest.raises(NoEngine, match="gone") as caught:
        try:
            raise NoEngine("gone")
        finally:
            with taking_down():
                raise NoEngine("containers may still exist")
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(NoEngine, match="gone") as caught:
        try:
            raise NoEngine("gone")
        finally:
            with taking_down():
                raise MachineCannot("a folder cannot be removed")
    assert caught.value.__notes__ == ["while taking down: a folder cannot be removed"]


def test_an_engine_is_there_as_long_as_it_takes_connections(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    adapter = SimpleNamespace(socket_path=str(path))
    client: Any = SimpleNamespace(
        api=SimpleNamespace(base_url="http+docker://localhost", get_adapter=lambda address: adapter)
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
        engine.bind(str(path))
        engine.listen()
        check(client)
    with pytest.raises(NoEngine, match=r"no longer answers \(connection refused\); start it again"):
        check(client)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (OSError("('Connection aborted.', RemoteDisconnected('Remote end closed ...'))"), "it closed the connection"),
        (OSError("('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))"), "connection reset"),
    ],
)
def test_a_connection_that_breaks_means_that_the_engine_has_gone(raised: OSError, reason: str) -> None:
    with pytest.raises(NoEngine) as caught, explained("container of node user0"):
        raise raised
    assert f"no longer answers ({reason})" in str(caught.value) and "container of node user0" not in str(caught.value)
