"""Fixtures for tests that make namespaces: a journal and their own hosts."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.containers.removal import remove_named
from testbed.network.hosts import MininetHosts
from testbed.system.journal import Journal


@pytest.fixture
def run_id() -> str:
    return uuid.uuid4().hex[:6]


@pytest.fixture
def journal(tmp_path: Path, run_id: str) -> Iterator[Journal]:
    journal = Journal(tmp_path / "state" / run_id / "journal.jsonl")
    yield journal
    journal.undo(remove_named)
    journal.close()


@pytest.fixture
def hosts(run_id: str, journal: Journal) -> Iterator[MininetHosts]:
    hosts = MininetHosts(run_id, journal)
    yield hosts
    hosts.stop()
