"""The shipped pair behaves like a real one: exact, agreeing often but not always, small on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from testbed.models.agreement import acceptance, agreement
from testbed.models.catalogue import list_models, list_pairs
from testbed.models.check import PairReport, check_pair
from testbed.models.load import PAIRS, load_model, load_tokenizer, model_hash
from testbed.models.runtime import CausalRuntime
from testbed.models.speed import assisted, generated
from testbed.workload.prompts import load_prompts

PROMPTS = Path(__file__).parents[2] / "workloads" / "prompts"
NAMES = ("tiny-target", "tiny-draft", "tiny-draft-small")


@pytest.fixture(scope="module")
def report() -> PairReport:
    prompts = load_prompts(str(PROMPTS / "prose.jsonl")).prompts[::8]
    return check_pair("tiny-target", "tiny-draft", prompts, max_tokens=48, threads=1)


@pytest.mark.slow
def test_the_shipped_pair_is_lossless_and_agrees_often_but_not_always(report: PairReport) -> None:
    assert report.lossless and report.tokens == 6 * 48
    assert 0.6 <= report.acceptance <= 0.85


@pytest.mark.slow
def test_the_drafter_knows_when_it_is_unsure(report: PairReport) -> None:
    assert report.rejection_auc is not None and report.rejection_auc > 0.75


@pytest.mark.slow
def test_longer_drafts_give_more_tokens_a_round(report: PairReport) -> None:
    rounds = [report.tokens_per_round[k] for k in range(1, 9)]
    assert 1.5 <= rounds[0] <= 1.85  # near 1 + acceptance
    assert rounds[7] > rounds[3] > rounds[0]


@pytest.mark.slow
def test_the_shipped_models_are_lean(report: PairReport) -> None:
    assert (report.target_passes, report.draft_passes) == ("lean", "lean")


@pytest.mark.slow
def test_the_report_measures_speed_and_memory(report: PairReport) -> None:
    assert report.draft_pass_ms[1] < report.target_pass_ms[1]
    assert min(report.rates.plain, report.rates.speculative, report.rates.transformers_assisted) > 1
    assert 100 < report.resident_mib < 8000


@pytest.mark.slow
def test_the_small_drafter_is_weaker() -> None:
    target, main, small = (CausalRuntime(load_model(name, threads=1).model) for name in NAMES)
    tokenizer = load_tokenizer("tiny-target")
    prompts = [tokenizer(one.text)["input_ids"] for one in load_prompts(str(PROMPTS / "prose.jsonl")).prompts[:6]]
    rates = [acceptance([agreement(target, drafter, prompt, 48) for prompt in prompts]) for drafter in (main, small)]
    assert rates[1] < rates[0] - 0.1


@pytest.mark.slow
def test_transformers_own_loops_agree_with_ours(report: PairReport) -> None:
    target, drafter = load_model("tiny-target", threads=1), load_model("tiny-draft")
    prompt = target.tokenizer(load_prompts(str(PROMPTS / "prose.jsonl")).prompts[0].text)["input_ids"]
    plain = generated(target.model, prompt, 32)
    before = drafter.model.generation_config.num_assistant_tokens
    assert assisted(target.model, drafter.model, prompt, 32, k=4) == plain
    assert drafter.model.generation_config.num_assistant_tokens == before


def test_the_catalogue_agrees_with_the_loaded_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # this user may have added others
    models = {model.name: model for model in list_models()}
    assert set(models) == set(NAMES)
    for name, model in models.items():
        loaded = load_model(name)
        assert (model.parameters, model.sha256) == (loaded.parameters, loaded.sha256)
        assert loaded.model.dtype == torch.float32
    (pair,) = list_pairs()
    assert (pair.target.name, *(draft.name for draft in pair.drafts)) == NAMES
    assert sum(path.stat().st_size for path in (PAIRS / "tiny").rglob("*") if path.is_file()) < 25_000_000


def test_the_shipped_card_describes_the_shipped_weights() -> None:
    card = json.loads((PAIRS / "tiny" / "card.json").read_text())
    hashes = {f"tiny-{name}": model["sha256"] for name, model in card["models"].items()}
    assert hashes == {name: model_hash(name) for name in NAMES}


@pytest.mark.parametrize(("file", "least"), [("prose.jsonl", 48), ("mixed.jsonl", 24)])
def test_prompt_files_hold_enough_prompts_of_a_sensible_length(file: str, least: int) -> None:
    prompts = load_prompts(str(PROMPTS / file)).prompts
    tokenizer = load_tokenizer("tiny-target")
    lengths = [len(tokenizer(prompt.text)["input_ids"]) for prompt in prompts]
    assert len(prompts) >= least
    assert all(16 <= length <= 96 for length in lengths)
