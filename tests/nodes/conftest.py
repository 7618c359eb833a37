"""What tests of nodes share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from testbed.nodes import worker


@pytest.fixture
def worker_in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is its own process elsewhere: its priority and its garbage collection are not for the tests'."""
    monkeypatch.setattr(worker, "precise_timers", lambda: None)
    monkeypatch.setattr(worker, "precede_ordinary_programs", lambda: None)
    yield
    gc.unfreeze()
    gc.enable()
