"""How long a node may be silent: longer before its first word than after it, and without end when it was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from testbed.emulation.nodeprocess import FIRST_WORD_S, SILENCE_S, Inbox, NodeFailed, NodeProcess
from testbed.nodes.control import Beat, line


class MadeUp:
    """A program that says what it is told to."""

    contained = False

    def __init__(self) -> None:
        self.says: Queue[bytes | None] = Queue()

    def send(self, data: bytes) -> None: ...

    def send_at_once(self, data: bytes) -> None: ...

    def lines(self) -> Iterator[bytes]:
        while (said := self.says.get()) is not None:
            yield said

    def status(self) -> int | None:
        return None

    def over_its_memory(self) -> bool:
        return False

    def wait(self, timeout_s: float) -> bool:
        return True

    def kill(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def save_log(self, path: Path) -> None: ...


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    program = MadeUp()
    yield NodeProcess("user0", program, tmp_path / "user0.log", Inbox())
    program.says.put(None)


def speak(node: NodeProcess) -> None:
    assert isinstance(node.program, MadeUp)
    node.program.says.put(line(Beat()))
    node._inbox.get(timeout=10)


def test_a_program_may_take_longer_to_start_than_to_answer_once_it_runs(node: NodeProcess) -> None:
    node.check(node.heard + FIRST_WORD_S - 1)
    with pytest.raises(NodeFailed, match=rf"^node user0 has not answered for {FIRST_WORD_S:.0f} s; log: "):
        node.check(node.heard + FIRST_WORD_S + 1)
    speak(node)
    node.check(node.heard + SILENCE_S - 1)
    with pytest.raises(NodeFailed, match=rf"^node user0 has not answered for {SILENCE_S:.0f} s; log: "):
        node.check(node.heard + SILENCE_S + 1)
    assert FIRST_WORD_S > SILENCE_S


def test_a_node_that_was_stopped_on_purpose_may_be_silent(node: NodeProcess) -> None:
    speak(node)
    node.freeze()
    node.check(node.heard + 1000)
    before = node.heard
    node.thaw()
    assert node.heard > before
    with pytest.raises(NodeFailed):
        node.check(node.heard + SILENCE_S + 1)
