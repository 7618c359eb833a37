"""An engine and up-to-date images for the tests that need them: the engine that answers, else one of our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.containers import build, daemon, engine, images
from testbed.errors import MachineCannot


@contextmanager
def skipped_where_the_machine_cannot() -> Iterator[None]:
    """With the one line that says what is missing, such as the distribution's packages; where CI is set it fails."""
    try:
        yield
    except MachineCannot as cannot:
        if "CI" in os.environ:
            raise
        pytest.skip(str(cannot))


@pytest.fixture(scope="session")
def container_engine() -> Iterator[Any]:
    """Starts one where none runs, and stops only that. Installs the package only where it starts no service."""
    if os.geteuid() != 0:
        pytest.skip("container tests start an engine and make network namespaces, which needs root")
    started = False
    if engine.answering() is None:
        alone = not Path("/run/systemd/system").exists() or "CI" in os.environ
        if shutil.which("dockerd") is None and not alone:
            pytest.skip("no engine answers, and docker.io would start a service here: apt-get install docker.io")
        with skipped_where_the_machine_cannot():
            started = daemon.start(install=True)
    client = engine.connect()
    yield client
    client.close()
    if started:
        daemon.stop()


@pytest.fixture(scope="session")
def node_images(container_engine: Any) -> dict[str, images.Image]:
    """Built from nothing but this machine, once; a later session finds them up to date."""
    with skipped_where_the_machine_cannot():
        made = build.build(container_engine, offline=True, note=print)
    return made
