"""Results change only on purpose: the rows of a small simulation a policy are those that were recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.policies import registry
from tests.simulation.fixed_rows import CASES, changelog_line, digests, recorded

AGAIN = "if that is meant: python -m tests.simulation.fixed_rows, and say in CHANGELOG.md what changed and why"


@pytest.mark.parametrize("name", CASES)
def test_the_rows_are_those_that_were_recorded(name: str) -> None:
    assert digests(name) == recorded()[name], AGAIN


def test_every_shipped_policy_has_a_fixed_simulation() -> None:
    assert {name.partition(",")[0] for name in CASES} == set(registry.names())
    assert list(CASES) == list(recorded())


def test_changelog_names_the_results_that_stand() -> None:
    """Nobody regenerates the file without a line that says so."""
    assert changelog_line() in (Path(__file__).parents[2] / "CHANGELOG.md").read_text(), AGAIN
