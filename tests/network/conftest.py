"""Fixtures for tests that make namespaces: a journal of their own, and a reason to skip where root is missing."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.network.hosts import MininetHosts
from testbed.network.journal import Journal


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cannot = os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("ip", "tc", "nsenter", "unshare"))
    for item in items:
        if cannot and item.get_closest_marker("shaped"):
            item.add_marker(pytest.mark.skip(reason="needs root, iproute2 and util-linux"))


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex[:6]


@pytest.fixture
def journal(tmp_path: Path, run_id: str) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / run_id / "journal.jsonl")
    yield journal
    journal.undo()
    journal.close()


@pytest.fixture
def hosts(run_id: str, journal: Journal) -> Iterator[MininetHosts]:
    hosts = MininetHosts(run_id, journal)
    yield hosts
    hosts.stop()
