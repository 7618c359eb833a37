"""Invariant 4 at the edges: tokens past the end of an output are neither emitted nor counted as accepted."""

from __future__ import annotations

import pytest

from testbed.decoding.output import Cut, cut


@pytest.mark.parametrize(
    ("tokens", "accepted", "remaining", "eos", "expected"),
    [
        ((5, 6, 7), 2, 10, (), Cut((5, 6, 7), 2, False)),
        ((5, 6, 7), 2, 3, (), Cut((5, 6, 7), 2, True)),  # exactly the limit
        ((5, 6, 7), 2, 2, (), Cut((5, 6), 2, True)),  # the bonus token is cut, both drafts stay accepted
        ((5, 6, 7), 2, 1, (), Cut((5,), 1, True)),  # so is an accepted draft
        ((5, 0, 7), 2, 10, (0,), Cut((5, 0), 2, True)),  # end of sequence among the accepted drafts
        ((0, 6, 7), 2, 10, (0,), Cut((0,), 1, True)),
        ((5, 6, 0), 2, 10, (0,), Cut((5, 6, 0), 2, True)),  # end of sequence as the bonus token
        ((5, 0, 0), 2, 1, (0,), Cut((5,), 1, True)),  # the limit comes first
        ((5, 9, 0), 2, 10, (0, 9), Cut((5, 9), 2, True)),  # the first of several ends
    ],
)
def test_output_is_cut_after_verification(
    tokens: tuple[int, ...], accepted: int, remaining: int, eos: tuple[int, ...], expected: Cut
) -> None:
    assert cut(tokens, accepted, remaining, eos) == expected
