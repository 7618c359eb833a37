"""`outcomes:` of an experiment: recorded unless made up, made up from the seed alone, and never emulated."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from testbed.errors import BadInput
from testbed.tables.outcomes import RECORDED, MadeUp, outcome_table, refuse_emulation
from testbed.tables.table import load_table


def made(seed, **outcomes):
    return outcome_table(MadeUp.model_validate(outcomes), 3, 40, seed, load_table)


def test_a_seed_decides_the_outcomes():
    assert made(1, iid={"match": 0.8}).sha256 == made(1, iid={"match": 0.8}).sha256
    assert made(1, iid={"match": 0.8}).sha256 != made(2, iid={"match": 0.8}).sha256


def test_the_drafter_agrees_as_often_as_asked():
    table = outcome_table(MadeUp.model_validate({"iid": {"match": 0.8}}), 30, 100, 1, load_table)
    hits = [one.top_tokens[at][0] == token for one in table.prompts.values() for at, token in enumerate(one.tokens)]
    assert sum(hits) / len(hits) == pytest.approx(0.8, abs=0.03)  # over 4 standard deviations of 3000 draws


def ranks(table):
    """By prompt and position: which choice was the target's token; None: none."""
    return [
        [
            one.top_tokens[at].index(token) if token in one.top_tokens[at] else None
            for at, token in enumerate(one.tokens)
        ]
        for one in table.prompts.values()
    ]


@pytest.mark.slow
def test_prompts_may_draw_their_rate_from_a_beta_law():
    """Shares of 200 prompts of 100 tokens: the law's mean and variance, plus that of 100 draws."""
    alpha, beta = 6.0, 2.0
    law = MadeUp.model_validate({"iid": {"by_prompt": {"alpha": alpha, "beta": beta}}})
    table = outcome_table(law, 200, 100, 1, load_table)
    shares = np.array([[rank == 0 for rank in row] for row in ranks(table)]).mean(axis=1)
    mean, size = alpha / (alpha + beta), alpha + beta
    assert shares.mean() == pytest.approx(mean, abs=0.035)  # over 3 standard deviations
    variance = mean * (1 - mean) / (size + 1)
    assert shares.var() == pytest.approx(variance + (mean * (1 - mean) - variance) / 100, rel=0.3)
    one_rate = outcome_table(MadeUp.model_validate({"iid": {"match": mean}}), 200, 100, 1, load_table)
    assert np.array([[rank == 0 for rank in row] for row in ranks(one_rate)]).mean(axis=1).var() < shares.var() / 5


def test_further_choices_are_right_as_often_as_asked_and_leave_the_first_two_as_they_are():
    asked = {"match": 0.5, "second_match": 0.4}
    table = outcome_table(
        MadeUp.model_validate({"iid": {**asked, "choices": 5, "later_match": [0.5, 0.2]}}), 60, 100, 1, load_table
    )
    found = [rank for row in ranks(table) for rank in row]
    assert {len(set(top)) for one in table.prompts.values() for top in one.top_tokens} == {5}
    third, fourth = (found.count(rank) / len(found) for rank in (2, 3))
    assert third == pytest.approx(0.5 * 0.6 * 0.5, abs=0.02) and fourth == pytest.approx(0.15 * 0.2, abs=0.01)
    assert found.count(4) == 0
    for one in table.prompts.values():
        for chances in one.top_probabilities:
            assert sum(chances) <= 1 + 1e-9 and list(chances) == sorted(chances, reverse=True)
    narrow = outcome_table(MadeUp.model_validate({"iid": asked}), 60, 100, 1, load_table)
    for name, one in narrow.prompts.items():
        wide = table.prompts[name]
        assert one.tokens == wide.tokens and one.rollout_tokens == wide.rollout_tokens
        assert one.top_tokens == tuple(top[:2] for top in wide.top_tokens)


def test_drawn_outcomes_have_all_recorded_choices():
    recorded, drawn = load_table("tiny-prose"), made(1, drawn={"table": "tiny-prose"})
    counts = [Counter(rank for row in ranks(table) for rank in row) for table in (recorded, drawn)]
    assert counts[0] == counts[1] and counts[0][2] > 0 and counts[0][3] > 0


@pytest.mark.parametrize(
    ("iid", "said"),
    [
        ({}, "write one of `match`, `by_prompt` and `published`"),
        ({"match": 0.5, "published": "qwen3.8-27b-dspark"}, "write one of"),
        ({"match": 0.5, "later_match": [0.1]}, "1 entries of later_match need 3"),
        ({"by_prompt": {"alpha": 0, "beta": 1}}, "greater than 0"),
        ({"published": "gpt-2"}, "qwen3.8-27b-dspark"),
    ],
)
def test_outcomes_that_say_too_little_or_too_much_are_refused(iid, said):
    with pytest.raises(ValidationError, match=said):
        MadeUp.model_validate({"iid": iid})


def test_drawn_outcomes_are_those_of_the_recorded_table_each_once():
    recorded, drawn = load_table("tiny-prose"), made(1, drawn={"table": "tiny-prose"})

    def entropies(table):
        return sorted(value for one in table.prompts.values() for value in one.entropies)

    assert drawn.synthetic
    assert entropies(drawn) == entropies(recorded)
    assert made(2, drawn={"table": "tiny-prose"}).sha256 != drawn.sha256


def test_made_up_outcomes_are_refused_by_an_emulation_whose_models_run():
    refuse_emulation(RECORDED)
    refuse_emulation(MadeUp.model_validate({"iid": {"match": 0.8}}), recorded=True)
    with pytest.raises(BadInput, match="--engine simulation"):
        refuse_emulation(MadeUp.model_validate({"iid": {"match": 0.8}}))
