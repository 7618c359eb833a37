"""A pair that cannot do what an experiment asks of it is refused in one line before anything is made: invariant 1."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers

from testbed.emulation.inputs import Options, passes_needed, read
from testbed.errors import BadInput, RunInvalid
from testbed.experiment.document import load_scenario
from testbed.experiment.scenario import Scenario
from testbed.models import fitness, packs
from testbed.models.check import check_pair
from testbed.models.fit import Fitness
from testbed.models.limits import Text
from testbed.models.load import load_model, load_tokenizer, model_hash, shipped
from testbed.models.lookup import LOOKUP
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from testbed.models.selftest import examine
from testbed.models.speculate import speculate
from testbed.tables.record import record
from testbed.workload.prompts import Prompt, PromptSet

WORDS = "The road to the city was long and the people on it were few"
PROMPTS = PromptSet("one", (Prompt("p1", WORDS),), "00")
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 512, "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of findings, for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wan-testbed" / "models"


def save(folder: Path, config: Any, seed: int = 1) -> str:
    """A model with random weights and the shipped tokenizer."""
    torch.manual_seed(seed)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped()["tiny-target"] / file, folder / file)
    return str(folder)


def llama(folder: Path, **changes: Any) -> str:
    return save(folder, transformers.LlamaConfig(**{**SMALL, "vocab_size": 2048, **changes}))


def gpt2(folder: Path, positions: int) -> str:
    config = transformers.GPT2Config(vocab_size=2048, n_positions=positions, n_embd=32, n_layer=2, n_head=4)
    return save(folder, config)


def gpt_neo(folder: Path) -> str:
    config = transformers.GPTNeoConfig(
        vocab_size=2048, hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=4,
        window_size=16, max_position_embeddings=512, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return save(folder, config)


def experiment(tmp_path: Path, target: str, draft: str, policies: list[Any]) -> Scenario:
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"id": "p1", "text": WORDS}) + "\n")
    said = {
        "name": "fit", "topology": "two-sites", "models": {"target": target, "draft": draft}, "policies": policies,
        "workload": {"prompts": str(tmp_path / "prompts.jsonl"), "requests": 1, "output_tokens": 40},
        "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
        "place": {"user": "far", "target": "near", "drafter": "far"},
    }  # fmt: skip
    (tmp_path / "fit.yaml").write_text(json.dumps(said))
    return load_scenario(tmp_path / "fit.yaml")


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_without_room_is_named_before_anything_is_made(tmp_path: Path) -> None:
    """Target or draft, by every verb."""
    long, short = gpt2(tmp_path / "long", 512), gpt2(tmp_path / "short", 48)
    tokens = len(load_tokenizer(long).encode(WORDS))
    for target, draft in ((long, short), (short, long)):
        scenario = experiment(tmp_path, target, draft, ["autoregressive"])
        expected = f"model {short!r} has room for 48 tokens; prompt 'p1' with its output"
        assert refusal(partial(read, scenario, Options())).startswith(f"{expected} has {tokens + 40}")
        for verb in (
            lambda target=target, draft=draft: check_pair(target, draft, PROMPTS.prompts),
            lambda target=target, draft=draft: record(target, draft, PROMPTS, 40),
        ):
            assert refusal(verb).startswith(expected)


def test_a_kind_of_pass_that_is_wrong_is_refused_for_the_policies_that_need_it(tmp_path: Path) -> None:
    model = gpt_neo(tmp_path / "neo")
    tree = {"wanspec": {"branches": 2, "label": "branching"}}
    said = refusal(lambda: read(experiment(tmp_path, model, model, ["autoregressive", tree]), Options()))
    assert "passes over trees of drafts" in said and "window of 16 tokens" in said and "policy 'branching'" in said
    said = refusal(lambda: read(experiment(tmp_path, model, model, ["centralised"]), Options()))
    assert "batched passes" in said and "policy 'centralised'" in said
    found = read(experiment(tmp_path, model, model, ["autoregressive", {"wanspec": {"branches": 1}}]), Options())
    assert set(found.fitness.refused["target"]) == {"tree", "batch"}  # which the nodes are told


def test_policies_say_which_passes_they_need(tmp_path: Path) -> None:
    def needed(*policies: Any) -> dict[str, set[str]]:
        scenario = experiment(tmp_path, "tiny-target", "tiny-draft", list(policies))
        return {model: set(kinds) for model, kinds in passes_needed(scenario.policies).items()}

    assert needed("autoregressive", "speculative", "wanspec") == {}
    assert needed({"wanspec": {"branches": 2}}) == {"target": {"tree"}, "draft": {"tree"}}
    for name in ("centralised", "sled", "wisp"):
        assert needed(name) == {"target": {"batch"}}


def test_weights_that_are_not_numbers_are_named_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "nan"
    shutil.copytree(shipped()["tiny-target"], folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    tensor = json.loads(content[8 : 8 + length])["model.norm.weight"]
    at = 8 + length + tensor["data_offsets"][0]
    content[at : at + 2] = b"\xc0\x7f"
    weights.write_bytes(content)
    said = refusal(lambda: read(experiment(tmp_path, str(folder), "tiny-draft", ["autoregressive"]), Options()))
    assert said.startswith(f"model {folder} returned logits that are not finite")


@pytest.mark.slow
def test_every_end_token_reaches_the_plan(tmp_path: Path) -> None:
    folder = tmp_path / "ends"
    shutil.copytree(shipped()["tiny-target"], folder)
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(said | {"eos_token_id": [0, 14]}))
    assert read(experiment(tmp_path, str(folder), "tiny-draft", ["autoregressive"]), Options()).eos == (0, 14)


@pytest.mark.parametrize("larger", ["target", "draft"])
def test_vocabularies_of_different_size_work_as_long_as_ids_fit(tmp_path: Path, larger: str) -> None:
    """A draft that the target has no row for is a refused draft; a token that the draft lacks is named."""
    target = load_model(llama(tmp_path / "target", vocab_size=2304 if larger == "target" else 2048), threads=1)
    draft = load_model(llama(tmp_path / "draft", vocab_size=2304 if larger == "draft" else 2048), threads=1)
    prompt = target.tokenizer.encode(WORDS)
    runtime, drafter = CausalRuntime(target.model), CausalRuntime(draft.model)
    expected = target_only(runtime, prompt, 40, eos=target.ends).tokens
    assert not max(expected) < 2048 or larger == "draft"  # else the test would show nothing
    if larger == "draft":
        drafted = target_only(drafter, prompt, 40).tokens
        assert max(drafted) >= 2048
        assert speculate(runtime, drafter, 0, prompt, 40, 4, target.ends).tokens == expected
        return
    with pytest.raises(RunInvalid, match=r"only 2048 rows \(vocab_size 2304 and 2048\)"):
        check_pair(target.name, draft.name, PROMPTS.prompts)


def test_a_model_is_tried_once_for_its_weights_and_configuration(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = llama(tmp_path / "model")
    texts = [Text("p1", (5, 6, 7), 30)]
    tried: list[str] = []
    honest = examine
    monkeypatch.setattr(fitness, "examine", lambda loaded, *rest: (tried.append(loaded.name), honest(loaded, *rest))[1])

    def times() -> int:
        tried.clear()
        fitness.require_fit({"target": name}, {}, texts)
        return len(tried)

    assert times() > 0 and times() == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (cache, *cache.glob("*.json")))
    assert all(path.stat().st_mode & 0o022 == 0 for path in cache.iterdir())  # a container reads a pack, mounted alone
    (found,) = set(cache.glob("*.json")) - set(cache.glob("*.facts.json"))
    found.write_bytes(b"{")  # damaged
    assert times() > 0 and times() == 0
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert times() > 0
    cache.chmod(0o777)  # others could write into it
    assert times() > 0 and times() > 0


def test_a_reference_that_is_not_generates_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was when one of several end tokens was looked at: policies and reference agreed, and both were wrong."""
    name = llama(tmp_path / "model")
    loaded = load_model(name, threads=1)
    prompt = tuple(loaded.tokenizer.encode(WORDS))
    first = target_only(CausalRuntime(loaded.model), prompt, 3).tokens[1]
    loaded.model.generation_config.eos_token_id = [0, first]
    said = refusal(lambda: fitness.require_fit({"target": name}, {}, [Text("p1", prompt, 60)], {"target": loaded}))
    assert "its output ends after 16 tokens, that of generate() after" in said


def test_what_nodes_are_told_survives_the_way_to_them() -> None:
    told = Fitness({"target": {"tree": "model m is not right in it"}}, {"target": 2304, "draft": 2048})
    again = msgspec.json.decode(msgspec.json.encode(told), type=Fitness)
    assert again.of("target").refused == {"tree": "model m is not right in it"}
    assert again.of("draft") == type(again.of("draft"))({}, "vocab_size 2304 and 2048")


def test_inputs_of_a_run_that_drafts_by_prompt_lookup(tmp_path: Path) -> None:
    target = llama(tmp_path / "model")
    said: list[str] = []
    drafting = experiment(tmp_path, target, LOOKUP, ["autoregressive", "wanspec"])
    inputs = read(drafting, Options(fabric="relay"), said.append)
    assert said == []
    assert inputs.model_hashes["draft"] == model_hash(LOOKUP) and set(inputs.fitness.packs) == {"target"}
    refused = refusal(partial(read, experiment(tmp_path, LOOKUP, target, ["autoregressive"]), Options()))
    assert refused == f"{LOOKUP} is a drafter without a model; only `models: {{draft: {LOOKUP}}}` can name it"


def test_a_run_whose_nodes_load_by_transformers_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "SPARE_BYTES", 1 << 60)
    said: list[str] = []
    inputs = read(experiment(tmp_path, llama(tmp_path / "model"), LOOKUP, ["wanspec"]), Options("relay"), said.append)
    assert len(said) == 1 and inputs.fitness.unpacked["target"] in said[0]
