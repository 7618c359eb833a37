"""Shared by all tests: where the shaped tests can run, and that CI never skips them in silence."""

from __future__ import annotations

import os

import pytest

RERUNS = (
    2  # of a shaped test that failed: it measures a machine that others may share; every rerun is shown and counted
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root the shaped tests are skipped, with the reason; in CI they run and fail instead."""
    for item in items:
        if "shaped" in item.keywords:
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
    if os.geteuid() == 0 or os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="shaped tests make network namespaces, which needs root: run as root")
    for item in items:
        if "shaped" in item.keywords:
            item.add_marker(skip)
