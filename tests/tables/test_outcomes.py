"""`outcomes:` of an experiment: recorded unless made up, made up from the seed alone, and never emulated."""

import pytest

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
