"""A policy has one text: what is changed in it changes an experiment of any size, in every repeat."""

from __future__ import annotations

from collections import Counter

import pytest

from testbed.policies.wanspec.waiting import Waiting
from tests.simulation.made_up import decode_table, rows

TABLE = decode_table(0.75)
REQUESTS, TOKENS = 4, 60
LARGE = 210  # repeats: 50,400 output tokens, as many as a sweep's point has


def target_site_drafts(repeats: int) -> list[int]:
    """Draft passes at the target's node in each repeat; links are constant, so that each is as the first."""
    log = rows(TABLE, {"wanspec": {"k": 2, "phi": 0.5}}, repeats=repeats)
    assert len(log["requests"]) == REQUESTS * repeats
    assert sum(row.output_tokens for row in log["requests"]) == REQUESTS * TOKENS * repeats
    passes = Counter(row.repeat for row in log["steps"] if row.kind == "draft" and row.node == "target0")
    return [passes[repeat] for repeat in range(repeats)]


@pytest.mark.slow
def test_an_edited_policy_changes_a_large_experiment_as_it_does_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = target_site_drafts(1)
    # never wait for the worker
    monkeypatch.setattr(Waiting, "worth_drafting", lambda self, worker, t_update, now: True)
    edited = target_site_drafts(1)
    assert edited[0] > before[0]
    assert target_site_drafts(LARGE) == edited * LARGE
