"""The controller's tree of one branch: which of the worker's drafts count, and whose stays where drafters differ."""

from __future__ import annotations

import pytest

from testbed.errors import RunInvalid
from testbed.policies.wanspec.candidates import CandidateTree, Heard
from testbed.wire.messages import Branches

PROMPT = (1, 2, 3)


class Path:
    """A controller's candidates, and the stream of its worker's drafts, one a message."""

    def __init__(self, *tokens: int) -> None:
        self.validated = list(PROMPT)
        self.candidates = CandidateTree(PROMPT, one_branch=True)
        self._number = 0
        for token in tokens:
            self.hears(token)

    def hears(self, token: int, after: int | None = None) -> Heard:
        """A draft after the one before it; `after`: after a text of so many tokens instead."""
        parents = () if after is None else (-1,)
        message = Branches(0, self._number, len(PROMPT) if after is None else after, parents, (token,), (0.9,))
        self._number += 1
        return self.candidates.add_remote(message, self.validated)

    def drafts(self, token: int) -> None:
        (leaf,) = self.candidates.tree.leaves()
        self.candidates.add_local(leaf, (token,), (0.9,))

    def validates(self, *tokens: int) -> bool:
        self.validated += tokens
        return self.candidates.advance(tokens)[1]

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(self.candidates.tree.tokens())

    @property
    def remote(self) -> int:
        tree = self.candidates.tree
        return self.candidates.remote_levels(tree.paths(tree.depth(99)))


def test_the_workers_drafts_extend_the_path() -> None:
    assert Path(4, 5).tokens == (4, 5)
    assert Path(4, 5).remote == 2


def test_a_lagging_worker_that_agrees_is_followed_to_where_it_leads() -> None:
    path = Path()
    assert not path.validates(4, 5)
    assert path.hears(4) == Heard(None, 3)
    assert path.hears(5) == Heard(None, 4)
    assert path.tokens == ()
    path.hears(6)
    assert path.tokens == (6,)


def test_the_first_contradiction_is_reported_and_ends_what_hangs_from_it() -> None:
    path = Path()
    path.validates(4, 5)
    assert path.hears(9).missed == 3
    assert path.hears(5) == Heard(None, None)
    assert path.hears(6) == Heard(None, None)
    assert path.tokens == ()
    path.hears(6, after=5)
    assert path.tokens == (6,)


def test_full_agreement_keeps_what_lies_beyond() -> None:
    path = Path(4, 5, 6, 7)
    assert not path.validates(4, 5, 6)
    assert path.tokens == (7,)
    path.hears(8)
    assert path.tokens == (7, 8)


def test_a_correction_drops_the_rest_and_what_the_worker_goes_on_to_say() -> None:
    path = Path(4, 5, 6)
    assert path.validates(4, 9)
    path.hears(7)
    assert path.tokens == ()


def test_local_drafts_that_were_wrong_say_nothing_about_the_worker() -> None:
    path = Path(4)
    path.drafts(5)
    assert not path.validates(4, 9)
    assert path.hears(5).missed == 4  # but the worker's own token does


def test_a_token_drafted_here_first_stays_local() -> None:
    path = Path()
    path.drafts(4)
    path.hears(4)
    assert (path.tokens, path.remote) == ((4,), 0)


def test_where_drafters_differ_the_workers_token_stays() -> None:
    path = Path(4)
    path.drafts(5)
    path.drafts(6)
    path.hears(7)
    assert (path.tokens, path.remote) == ((4, 7), 2)


def test_a_local_pass_that_the_worker_overtook_is_dropped() -> None:
    path = Path(4)
    (leaf,) = path.candidates.tree.leaves()
    path.hears(5)
    path.candidates.add_local(leaf, (6,), (0.9,))
    assert path.tokens == (4, 5)
    path.validates(9)
    path.candidates.add_local(leaf, (6,), (0.9,))  # nor does it count where its leaf is gone
    assert path.tokens == ()


def test_a_gap_in_the_stream_makes_the_run_invalid() -> None:
    path = Path(4)
    with pytest.raises(RunInvalid, match="arrived out of order"):
        path.candidates.add_remote(Branches(0, 2, 3, (), (4,), (0.9,)), path.validated)
