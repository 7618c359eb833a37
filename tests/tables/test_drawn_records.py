"""Per-token records dealt without replacement, as WANSpec's own simulator does; and second choices made up."""

from __future__ import annotations

import pytest

from testbed.errors import BadInput
from testbed.tables.synthetic import ByOutcome, Constant, drawn_table, iid_table, made_up_prompts, outcome, outcomes_of
from testbed.tables.table import DecodeTable
from tests.table_examples import tiny_table

RECORDS = (
    [outcome(True, False, 0.1 + 0.001 * number, 0.2) for number in range(80)]
    + [outcome(False, True, 1.0, 1.2)] * 12
    + [outcome(False, False, 2.0, 2.2)] * 8
)


def flags(table: DecodeTable) -> list[tuple[bool, bool]]:
    return [
        (one.top_tokens[at][0] == token, one.top_tokens[at][1] == token)
        for one in table.prompts.values()
        for at, token in enumerate(one.tokens)
    ]


def test_records_are_dealt_without_replacement() -> None:
    table = drawn_table(RECORDS, made_up_prompts(4, 5, 0), 25, seed=3, depth=5)
    dealt = flags(table)
    assert (dealt.count((True, False)), dealt.count((False, True)), dealt.count((False, False))) == (80, 12, 8)
    entropies = [value for one in table.prompts.values() for value in one.entropies]
    assert sorted(entropies) == sorted(record.target_entropy for record in RECORDS)
    assert table.synthetic and table.provenance.note == "100 records drawn without replacement, seed 3"


def test_an_empty_pool_is_filled_again() -> None:
    dealt = flags(drawn_table(RECORDS, made_up_prompts(10, 5, 0), 25, seed=3, depth=5))
    assert dealt.count((True, False)) == 2 * 80 + sum(first for first, _ in dealt[200:])
    assert sum(first for first, _ in dealt[:100]) == sum(first for first, _ in dealt[100:200]) == 80


def test_each_record_keeps_its_flags_and_entropies_together() -> None:
    table = drawn_table(RECORDS, made_up_prompts(4, 5, 0), 25, seed=4, depth=5)
    seen = {
        (one.top_tokens[at][0] == token, one.top_tokens[at][1] == token, one.rollout_entropies[at][0])
        for one in table.prompts.values()
        for at, token in enumerate(one.tokens)
    }
    assert seen == {(True, False, 0.2), (False, True, 1.2), (False, False, 2.2)}


def test_a_recorded_table_is_a_pool() -> None:
    pool = outcomes_of(tiny_table())
    assert [(one.match, one.second_match) for one in pool[:3]] == [(True, False), (False, True), (True, False)]
    table = drawn_table(pool, made_up_prompts(2, 5, 0), 3, seed=1, depth=4)
    assert sorted(flags(table)) == sorted([(True, False)] * 4 + [(False, True)] * 2)


def test_one_seed_deals_one_table() -> None:
    one, same, other = (drawn_table(RECORDS, made_up_prompts(2, 5, 0), 25, seed, 5).sha256 for seed in (1, 1, 2))
    assert one == same != other


def test_records_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(BadInput, match="cannot match where the first does"):
        drawn_table([outcome(True, True, 0.1, 0.1)], made_up_prompts(1, 5, 0), 5, 0, 5)
    with pytest.raises(BadInput, match="each must be at least 1"):
        drawn_table([], made_up_prompts(1, 5, 0), 5, 0, 5)


def test_second_choices_match_as_often_as_asked_where_the_first_does_not() -> None:
    entropy = ByOutcome(Constant(0.1), Constant(1.0))
    dealt = flags(iid_table(made_up_prompts(40, 5, 0), 100, 0.8, entropy, entropy, 1, 4, second_match_rate=0.6))
    missed = [second for first, second in dealt if not first]
    assert len(missed) / len(dealt) == pytest.approx(0.2, abs=0.02)
    assert sum(missed) / len(missed) == pytest.approx(0.6, abs=0.05)
    assert not any(first and second for first, second in dealt)
