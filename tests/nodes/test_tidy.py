"""A node collects what its roles drop in cycles while a phase goes on, since the collector itself is switched off."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from testbed.nodes import program
from testbed.nodes.program import NodeProgram


class Link:
    """Half of a cycle."""

    def __init__(self) -> None:
        self.other = self


async def after_requests(count: int) -> list[bool]:
    """Which of `count` dropped cycles are gone, each dropped before a request ends."""
    node = object.__new__(NodeProgram)
    node._tidied, node._driver, node._recorder = 0.0, None, None
    dropped = []
    for request in range(count):
        dropped.append(weakref.ref(Link()))
        node._request_finished(request)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return [one() is None for one in dropped]


@pytest.mark.parametrize(("tidy_s", "gone"), [(0.0, [True] * 5), (60.0, [True, False, False, False, False])])
def test_dropped_cycles_go_after_a_request_but_not_after_each_of_many(
    monkeypatch: pytest.MonkeyPatch, tidy_s: float, gone: list[bool]
) -> None:
    monkeypatch.setattr(program, "TIDY_S", tidy_s)
    gc.disable()
    try:
        assert asyncio.run(after_requests(5)) == gone
    finally:
        gc.enable()
