"""A role's idea of its device's cache is right: after a plan is carried out the cache holds exactly the sequence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.decoding.cacheview import CacheView


class BruteForceCache:
    """The device: a list of tokens that is cropped and fed, compared from its first token on every time."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def longest_common_prefix(self, sequence: list[int]) -> int:
        common = 0
        while common < min(len(self.tokens), len(sequence)) and self.tokens[common] == sequence[common]:
            common += 1
        return common


STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 1), max_size=4),  # newly validated
        st.lists(st.integers(0, 1), max_size=4),  # path beyond them
        st.integers(1, 4),  # fresh
        st.lists(st.integers(0, 1), max_size=4),  # drafted by the pass
    ),
    max_size=12,
)


@given(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=5), steps=STEPS)
def test_plans_equal_a_brute_force_comparison(
    prompt: list[int], steps: list[tuple[list[int], list[int], int, list[int]]]
) -> None:
    view, device, validated = CacheView(), BruteForceCache(), list(prompt)
    for grown, path, fresh, drafted in steps:
        validated += grown
        sequence = validated + path
        fresh = min(fresh, len(sequence))
        position, tokens = view.plan(validated, path, fresh)
        assert position == min(device.longest_common_prefix(sequence), len(sequence) - fresh)
        device.tokens[position:] = tokens
        assert device.tokens == sequence
        device.tokens += drafted[:-1]
        view.fed(position, tokens, drafted)
        assert len(view) == len(device.tokens)


def test_drafters_own_last_token_is_fed_after_full_acceptance() -> None:
    """The off-by-one: drafts 7 8 came out of two passes, so only 7 is cached; the next plan feeds 8 and the bonus 9."""
    view = CacheView()
    view.fed(*view.plan([1, 2, 3]), drafted=[7, 8])
    assert view.plan([1, 2, 3, 7, 8, 9]) == (4, (8, 9))


def test_a_rejected_draft_is_cropped() -> None:
    view = CacheView()
    view.fed(*view.plan([1, 2, 3]), drafted=[7, 8])
    assert view.plan([1, 2, 3, 5]) == (3, (5,))


def test_verification_feeds_the_token_before_the_first_draft_again() -> None:
    view = CacheView()
    view.fed(*view.plan([1, 2, 3]))
    assert view.plan([1, 2, 3], [7, 8], fresh=3) == (2, (3, 7, 8))


class CountingList(list[int]):
    reads = 0

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self.reads += isinstance(index, int)
        return super().__getitem__(index)


def test_cost_is_in_the_new_tokens_only() -> None:
    view, validated = CacheView(), CountingList(range(1000))
    view.fed(*view.plan(validated))
    for token in range(50):
        validated.append(token)
        view.fed(*view.plan(validated))
    assert validated.reads < 1200


def test_nothing_is_fed_beyond_the_cache() -> None:
    with pytest.raises(ValueError, match="crop to 3"):
        CacheView().fed(3, (1,))
