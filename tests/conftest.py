"""Shared by all tests: where the shaped tests can run, and that CI never skips them in silence."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.results.store import RunDirectory

# Before anything imports PyTorch: its threads, one pool in each process of tests, wait for each other by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is imported stays: looking through it for garbage, again and again, is a fifth of the time that collecting takes.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, and only in what the tests make."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m shaped...` or `-m docker...` a file without that word is not imported: PyTorch alone takes seconds."""
    asked = str(config.option.markexpr).split(" ")[0]
    if asked in ("shaped", "docker") and collection_path.name.startswith("test_") and collection_path.is_file():
        return asked not in collection_path.read_text(encoding="utf-8") or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root the shaped tests are skipped, with the reason; in CI they run and fail instead."""
    if os.geteuid() == 0 or os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="shaped tests make network namespaces, which needs root: run as root")
    for item in items:
        if "shaped" in item.keywords:
            item.add_marker(skip)


def _without_page() -> Iterator[None]:
    """Simulated runs are written with an empty page, as its drawings take several times as long as a small run."""

    def write_page(directory: RunDirectory, *_: object) -> Path:
        return directory.write_text("report.html", "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("testbed.report.write_page", write_page)
        yield


without_page = pytest.fixture(_without_page, name="without_page")
without_pages = pytest.fixture(_without_page, name="without_pages", scope="module")  # of a module's runs
