"""The engine's commands: whole lines in order, however the bytes come, before and after somebody takes them."""

from __future__ import annotations

import os
import time

import pytest

from testbed.nodes.commands import Commands


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_lines_come_whole_and_in_order_whenever_delivery_begins(taken: int) -> None:
    lines = [b"first", b"x" * 300_000, b"", b"last"]
    ours, theirs = os.pipe()
    commands, delivered = Commands(ours), []
    text = b"".join(line + b"\n" for line in lines)

    def write(part: bytes) -> None:
        while part:
            part = part[os.write(theirs, part) :]

    second = len(b"first\n") + 300_001
    write(text[:second])
    found = [commands.next() for _ in range(min(taken, 2))]
    commands.deliver_to(delivered.append)
    write(text[second:])
    while not b"".join(delivered).endswith(b"last\n"):
        time.sleep(0.001)
    for data in delivered:
        found += commands.lines(data)
    assert found == lines
