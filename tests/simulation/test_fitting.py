"""Which decode table answers for which experiment: chosen by provenance, refused with the command that mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from testbed.decoding.rng import request_seed
from testbed.errors import BadInput
from testbed.experiment.progress import Silent
from testbed.results.store import RunDirectory, load
from testbed.simulation.calibrate import calibrate
from testbed.simulation.engine import Options, run
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.tables import table as tables
from testbed.tables.table import DecodeTable, SampledFrom, make_table, output_key
from testbed.workload.prompts import load_prompts
from tests.simulation.made_up import POLICIES, decode_table, prompt_table, scenario

LAW = SampledFrom(temperature=0.8, top_p=0.9, seed=3, repeats=2)
SAMPLING = {"temperature": 0.8, "top_p": 0.9}
PROMPTS = 3
OUTPUT_TOKENS = 40


@pytest.fixture(autouse=True)
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working directory with a prompt set and a folder of tables that is looked into first."""
    (tmp_path / "workloads" / "tables").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "three.jsonl"
    path.write_text("".join(json.dumps({"id": f"p{n}", "text": f"prompt {n}"}) + "\n" for n in range(PROMPTS)))
    return str(path)


def greedy_table(prompts: str, **changes: Any) -> DecodeTable:
    held = load_prompts(prompts)
    said: dict[str, Any] = {"synthetic": False, "prompts_sha256": held.sha256, "eos": -1, **changes}
    return decode_table(0.7, PROMPTS, OUTPUT_TOKENS, **said)


def sampled_table(prompts: str, law: SampledFrom = LAW) -> DecodeTable:
    """Another output for each request, as drawn ones are."""
    made = {}
    for index in range(PROMPTS):
        for repeat in range(law.repeats):
            key = output_key(f"p{index}", law.with_seed(request_seed(law.seed, index, repeat)))
            matches = [(position + repeat) % 4 > 0 for position in range(OUTPUT_TOKENS)]
            made[key] = prompt_table(10 * index + repeat, OUTPUT_TOKENS, matches.__getitem__)
    return make_table("sampled", replace(greedy_table(prompts).provenance, sampling=law), made)


def ship(table: DecodeTable, name: str) -> None:
    table.write(Path("workloads/tables") / f"{name}.parquet")


def made(prompts: str, *policies: object, sampling: dict[str, float] | None = None, **changes: Any):
    workload = {"prompts": prompts, "requests": PROMPTS, "output_tokens": OUTPUT_TOKENS, "sampling": sampling or {}}
    return scenario(*(policies or POLICIES), **{"workload": workload, "repeats": 2, **changes})


def chosen(one: Any) -> DecodeTable:
    return from_scenario(one, None, NO_OVERHEADS, lambda text: None).table


def test_each_experiment_finds_the_table_of_its_own_law_and_seed(prompts: str) -> None:
    ship(greedy_table(prompts), "a-greedy")
    ship(sampled_table(prompts, replace(LAW, temperature=0.5)), "b-cooler")
    ship(sampled_table(prompts, replace(LAW, seed=4)), "c-other-seed")
    ship(sampled_table(prompts), "d-sampled")
    assert chosen(made(prompts)).name == "a-greedy"
    assert chosen(made(prompts, sampling=SAMPLING)).name == "d-sampled"
    assert chosen(made(prompts, sampling=SAMPLING, seed=4)).name == "c-other-seed"
    assert chosen(made(prompts, sampling=SAMPLING, repeats=1)).name == "d-sampled"  # of two repeats it holds both


def test_only_the_table_chosen_is_read_whole(prompts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(sampled_table(prompts), "a-sampled")
    ship(greedy_table(prompts), "b-greedy")
    read: list[str] = []
    whole = tables.load_table
    monkeypatch.setattr("testbed.simulation.inputs.load_table", lambda name: (read.append(name), whole(name))[1])
    chosen(made(prompts))
    assert read == ["b-greedy"]


def test_of_two_that_fit_the_one_that_is_long_enough_is_taken(prompts: str) -> None:
    ship(replace_length(greedy_table(prompts), 10), "a-short")
    ship(greedy_table(prompts), "b-long")
    assert chosen(made(prompts)).name == "b-long"


def replace_length(table: DecodeTable, output_tokens: int) -> DecodeTable:
    return make_table(table.name, replace(table.provenance, output_tokens=output_tokens), table.prompts)


@pytest.mark.parametrize(
    ("law", "changes", "words"),
    [
        (None, {"sampling": SAMPLING}, "it holds greedy output only"),
        (LAW, {}, "its output was sampled at temperature 0.8, but this experiment decodes greedily"),
        (LAW, {"sampling": {**SAMPLING, "temperature": 1.0}}, "it was sampled with temperature 0.8, not 1"),
        (LAW, {"sampling": {"temperature": 0.8}}, "it was sampled with top_p 0.9, not 1"),
        (LAW, {"sampling": {**SAMPLING, "top_k": 5}}, "it was sampled with top_k 0, not 5"),
        (LAW, {"sampling": SAMPLING, "seed": 9}, "its draws are those of seed 3, this experiment's seed is 9"),
        (LAW, {"sampling": SAMPLING, "repeats": 3}, "it was sampled for repeats: 2, this experiment has 3"),
    ],
    ids=["greedy", "not greedy", "temperature", "top-p", "top-k", "seed", "repeats"],
)
def test_a_table_of_other_draws_is_refused_with_its_mend(
    prompts: str, law: SampledFrom | None, changes: dict[str, Any], words: str
) -> None:
    (greedy_table(prompts) if law is None else sampled_table(prompts, law)).write(Path("named.parquet"))
    with pytest.raises(BadInput, match=f"decode table named: {words}.*; record one: testbed record "):
        from_scenario(made(prompts, **changes), "named.parquet", NO_OVERHEADS, lambda text: None)


def test_the_mend_records_what_was_asked_for(prompts: str) -> None:
    sampling = {"temperature": 0.8, "top_k": 5, "top_p": 0.9}
    with pytest.raises(BadInput) as refused:
        chosen(made(prompts, sampling=sampling, repeats=3))
    assert "sampled at temperature 0.8 with seed 3" in str(refused.value)
    assert "--temperature 0.8 --seed 3 --repeats 3 --top-k 5 --top-p 0.9 --out workloads/tables/" in str(refused.value)


def test_drafts_that_are_drawn_too_stay_with_the_emulation(prompts: str) -> None:
    ship(sampled_table(prompts), "sampled")
    drawing = {"speculative": {"draft": "sampled"}}
    with pytest.raises(BadInput, match="policy 'speculative': `draft: sampled` verifies by rejection"):
        chosen(made(prompts, drawing, sampling=SAMPLING))
    ship(greedy_table(prompts), "greedy")
    assert chosen(made(prompts, drawing)).name == "greedy"  # greedy requests draft greedily


@pytest.mark.slow
def test_a_sampled_run_is_as_recorded_says_seeded_coupling_and_calibrates(prompts: str, tmp_path: Path) -> None:
    ship(sampled_table(prompts), "sampled")
    outcome = run(made(prompts, sampling=SAMPLING), Options(tmp_path / "runs"), Silent())
    assert outcome.summary["lossless"] == {"checked": 18, "equal": 18, "kind": "recorded"}
    assert outcome.summary["sampling"] == outcome.manifest["sampling"] == "seeded coupling"
    requests = load(outcome.directory).requests
    assert requests.groupby(["prompt_id", "repeat"])["tokens"].apply(lambda rows: len({*map(tuple, rows)})).eq(1).all()
    assert len({*map(tuple, requests["tokens"])}) == 2 * PROMPTS  # repeats draw anew, policies do not
    report = (outcome.directory / "report.html").read_text()
    assert "temperature 0.8, top-p 0.9: seeded coupling" in report and "18 of 18 are as recorded" in report
    RunDirectory(outcome.directory).write_manifest({**outcome.manifest, "engine": "emulation"})
    assert calibrate(outcome.directory)["tokens_identical"] is True
