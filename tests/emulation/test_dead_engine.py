"""A container engine that dies takes the clean-up with it, and yet the run says why it ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.emulation.culprit import NodeFacts
from testbed.emulation.deployment import Deployment
from testbed.errors import MachineCannot, RunInvalid


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
    unused: Any = None
    network: Any = SimpleNamespace(died=lambda: None)
    deployment = Deployment(unused, network, tmp_path)
    out_of_reach: Any = OutOfReach()
    monkeypatch.setattr(deployment, "_start", lambda: deployment.nodes.update(user0=out_of_reach))
    with pytest.raises(RunInvalid, match="node target0 ended") as caught, deployment:
        raise RunInvalid("node target0 ended")
    assert caught.value.__notes__ == ["while taking down: container of node user0: connection refused"]
