"""Trees from a decode table: recorded where it can be; what stands in for the rest is counted and never emitted."""

from __future__ import annotations

import pytest

from testbed.policies.api import Draft, DraftTree, TreeDraftReady, VerifyReady, VerifyTree
from testbed.tables.replay import Replay, TableMiss
from tests.table_examples import tiny_table

PROMPT = (1, 2)

# The target says 10 11 12. The drafter agrees on 10, says 21 for 11 (its second choice is right), agrees on 12.


def bound(second_choice: bool = True) -> Replay:
    replay = Replay(tiny_table(second_choice))
    replay.bind(7, "a")
    return replay


def grow(
    replay: Replay, nodes: tuple[int, ...], parents: tuple[int, ...], leaves: tuple[int, ...], width: int = 2
) -> TreeDraftReady:
    return replay.draft_tree(DraftTree(0, 7, 0, PROMPT, nodes, parents, leaves, width, fresh=1), 2.5)


def verify(nodes: tuple[int, ...], parents: tuple[int, ...]) -> VerifyReady:
    return bound().verify_tree(VerifyTree(0, 7, 0, PROMPT, nodes, parents, 2, 1), 2.5)


def test_along_the_output_all_choices_are_recorded() -> None:
    replay = bound()
    ready = grow(replay, (10, 11), (-1, 0), (-1, 0, 1))
    assert ready.tokens == ((10, 30), (21, 11), (12, 32))
    assert ready.probabilities == ((0.9, 0.05), (0.5, 0.4), (0.8, 0.1))
    assert ready.entropies == (0.5, 0.6, 0.7)
    assert ready.duration_ms == 2.5
    assert (replay.tree_lookups, replay.approximated_lookups) == (3, 0)


def test_first_choices_below_a_wrong_draft_are_recorded() -> None:
    replay = bound()
    ready = grow(replay, (10, 21, 30), (-1, 0, -1), (1, 2), width=1)
    assert ready.tokens == ((22,), (31,))  # by the rollouts of a first and of a second choice
    assert ready.entropies == (0.61, 0.9)
    assert (replay.tree_lookups, replay.approximated_lookups) == (2, 0)


def test_a_second_choice_below_a_wrong_draft_is_made_up_and_counted() -> None:
    replay = bound()
    ready = grow(replay, (30,), (-1,), (0,))
    ((first, second),) = ready.tokens
    assert first == 31 and second not in (first, 10, 11, 12)
    ((top, next_),) = ready.probabilities
    assert top == 0.3 and 0 < next_ <= min(top, 1 - top)
    assert (replay.tree_lookups, replay.approximated_lookups) == (1, 1)
    below = grow(replay, (30, second), (-1, 0), (1,), width=1)
    assert (below.tokens, below.entropies) == (((32,),), (0.91,))  # what is recorded below its first sibling
    assert (replay.tree_lookups, replay.approximated_lookups) == (2, 2)


def test_without_recorded_second_choices_theirs_are_approximated() -> None:
    replay = bound(second_choice=False)
    assert grow(replay, (30,), (-1,), (0,), width=1).entropies == (0.6,)  # below the first choice, 10
    assert replay.approximated_lookups == 1
    assert grow(replay, (10, 11), (-1, 0), (1,), width=1).tokens == ((12,),)  # the output itself needs no rollout
    assert replay.approximated_lookups == 1


def test_the_share_of_a_second_choice_is_the_table_s_own() -> None:
    ready = grow(bound(), (30,), (-1,), (0,))
    states = [(0.9, 0.05), (0.5, 0.4), (0.8, 0.1), (0.7, 0.2)]
    share = sum(second / (1 - first) for first, second in states) / len(states)
    assert ready.probabilities[0][1] == pytest.approx(min(0.3, 0.7 * share))


@pytest.mark.parametrize(
    ("nodes", "parents", "leaves", "width", "message"),
    [
        ((99,), (-1,), (0,), 1, "token 99 is not a recorded choice"),
        ((), (), (-1,), 3, "2 choices are recorded, but 3 were requested"),
        ((30, 31, 32, 33), (-1, 0, 1, 2), (3,), 1, "record the table with a greater depth"),
        ((30, 31, 32, 33, 34), (-1, 0, 1, 2, 3), (4,), 1, "record the table with a greater depth"),
    ],
)
def test_what_nothing_stands_in_for_is_a_miss(
    nodes: tuple[int, ...], parents: tuple[int, ...], leaves: tuple[int, ...], width: int, message: str
) -> None:
    with pytest.raises(TableMiss, match=f"decode table tiny: prompt 'a', output position 0: .*{message}"):
        grow(bound(), nodes, parents, leaves, width)


def test_a_tree_below_a_wrong_text_is_a_miss() -> None:
    replay = bound()
    replay.draft(Draft(0, 7, 0, PROMPT, 2))
    with pytest.raises(TableMiss, match="not the target's output"):
        replay.draft_tree(DraftTree(0, 7, 2, (30,), (), (), (-1,), 1, 1))


@pytest.mark.parametrize(
    ("nodes", "parents", "accepted", "tokens", "entropies"),
    [
        ((), (), 0, (10,), (0.1,)),
        ((30, 10), (-1, -1), 1, (10, 11), (0.1, 0.2)),
        ((10, 30, 21, 11), (-1, -1, 0, 0), 2, (10, 11, 12), (0.1, 0.2, 0.3)),
        ((30, 11), (-1, 0), 0, (10,), (0.1,)),  # the right token in the wrong place
    ],
)
def test_the_verdict_is_the_target_s_own_output(
    nodes: tuple[int, ...],
    parents: tuple[int, ...],
    accepted: int,
    tokens: tuple[int, ...],
    entropies: tuple[float, ...],
) -> None:
    ready = verify(nodes, parents)
    assert (ready.accepted, ready.tokens, ready.entropies) == (accepted, tokens, entropies)


def test_a_tree_does_not_stay_in_the_target_s_cache() -> None:
    replay = bound()
    replay.verify_tree(VerifyTree(0, 7, 0, PROMPT, (10, 11), (-1, 0), 2, 4))
    with pytest.raises(ValueError, match="cannot crop"):
        replay.verify_tree(VerifyTree(0, 7, 3, (11,), (), (), 0, 1))
    assert replay.verify_tree(VerifyTree(0, 7, 2, (10, 11), (), (), 0, 1)).tokens == (12,)


def test_a_verdict_past_the_record_is_a_miss() -> None:
    with pytest.raises(TableMiss, match="recorded output ends here"):
        verify((10, 11, 12), (-1, 0, 1))
