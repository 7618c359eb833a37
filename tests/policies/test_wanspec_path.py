"""The controller's path: which worker tokens count, decided from (lineage, position, token) alone."""

from __future__ import annotations

import pytest

from testbed.errors import RunInvalid
from testbed.policies.wanspec.path import CandidatePath

VALIDATED = [1, 2, 3]


def fed(*tokens: int) -> CandidatePath:
    path = CandidatePath()
    for index, token in enumerate(tokens):
        path.add_remote(0, 3 + index, token, VALIDATED)
    return path


def test_worker_tokens_extend_the_path() -> None:
    assert fed(4, 5).tokens(2) == (4, 5)
    assert fed(4, 5).remote_drafts(1) == 1


def test_a_lagging_worker_that_agrees_is_consumed() -> None:
    path = CandidatePath()
    assert not path.add_remote(0, 1, 2, VALIDATED)
    assert not path.add_remote(0, 2, 3, VALIDATED)
    assert len(path) == 0
    path.add_remote(0, 3, 4, VALIDATED)
    assert path.tokens(1) == (4,)


def test_the_first_contradiction_is_reported_and_kills_the_lineage() -> None:
    path = CandidatePath()
    assert path.add_remote(0, 1, 9, VALIDATED)
    assert not path.add_remote(0, 2, 9, VALIDATED)
    path.add_remote(0, 3, 4, VALIDATED)
    assert len(path) == 0


def test_a_new_lineage_is_alive_again() -> None:
    path = CandidatePath()
    path.add_remote(0, 1, 9, VALIDATED)
    path.add_remote(1, 3, 4, VALIDATED)
    assert path.tokens(1) == (4,)


def test_full_agreement_keeps_what_lies_beyond() -> None:
    path = fed(4, 5, 6, 7)
    assert not path.prune([4, 5, 6], [*VALIDATED, 4, 5, 6])
    assert path.tokens(4) == (7,)
    path.add_remote(0, 7, 8, [*VALIDATED, 4, 5, 6])
    assert path.tokens(4) == (7, 8)


def test_a_correction_drops_the_rest_and_kills_the_lineage() -> None:
    path = fed(4, 5, 6)
    assert path.prune([4, 9], [*VALIDATED, 4, 9])
    path.add_remote(0, 6, 7, [*VALIDATED, 4, 9])
    assert len(path) == 0


def test_local_drafts_that_were_wrong_say_nothing_about_the_worker() -> None:
    path = fed(4)
    path.add_local(5)
    assert not path.prune([4, 9], [*VALIDATED, 4, 9])
    assert path.add_remote(0, 4, 5, [*VALIDATED, 4, 9])  # but the worker's own token does


def test_a_token_drafted_here_first_stays_local() -> None:
    path = CandidatePath()
    path.add_local(4)
    path.add_remote(0, 3, 4, VALIDATED)
    assert (path.tokens(2), path.remote_drafts(2), path.generation) == ((4,), 0, 0)


def test_where_drafters_differ_the_workers_token_stays() -> None:
    path = fed(4)
    path.add_local(5)
    path.add_local(6)
    path.add_remote(0, 4, 7, VALIDATED)
    assert (path.tokens(3), path.generation) == ((4, 7), 1)


@pytest.mark.parametrize(("lineage", "position"), [(0, 5), (0, 3), (1, 9)])
def test_a_gap_in_the_stream_makes_the_run_invalid(lineage: int, position: int) -> None:
    path = fed(4)
    with pytest.raises(RunInvalid, match="not ordered"):
        path.add_remote(lineage, position, 4, VALIDATED)
