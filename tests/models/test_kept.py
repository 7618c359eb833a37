"""What is known of a model without loading it is what transformers says, and weights as nodes map them are whole."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from testbed.errors import RunInvalid
from testbed.models import facts, kept, packs
from testbed.models.fitness import require_fit, slower
from testbed.models.lean.activations import ACTIVATIONS
from testbed.models.limits import Text
from testbed.models.load import check_same_tokenizer, load_model, load_tokenizer, shipped
from testbed.models.passes import passes_of_pack
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from testbed.workload.prompts import load_prompts

TEXTS = [Text("p1", (5, 6, 7), 30)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wan-testbed" / "models"


@pytest.mark.parametrize("name", ["tiny-target", "tiny-draft"])
def test_facts_are_those_that_a_loaded_model_says(name: str) -> None:
    said, loaded = facts.facts_of(name), load_model(name, threads=1)
    assert said.ends == loaded.ends and said.rows == loaded.model.config.vocab_size
    assert said.room == loaded.model.config.max_position_embeddings and said.rules
    assert facts.facts_of(name) == said  # from what is kept


@pytest.mark.parametrize("prompts", ["prose", "openings", "mixed"])
def test_prompts_become_the_tokens_that_transformers_gives(prompts: str) -> None:
    ours, theirs = facts.tokenizer_of("tiny-target"), load_tokenizer("tiny-target")
    assert isinstance(ours, facts.Tokenizer)
    for one in load_prompts(prompts).prompts:
        assert ours.encode(one.text) == theirs.encode(one.text)
    check_same_tokenizer("tiny-target", "tiny-draft", facts.tokenizer_of)


def test_a_tokenizer_that_goes_about_it_in_another_way_stays_with_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = load_tokenizer("tiny-target")
    shouting = type("Shouting", (type(theirs),), {"encode": lambda self, text: theirs.encode(text.upper())})
    theirs_too = load_tokenizer("tiny-target")
    theirs_too.__class__ = shouting
    monkeypatch.setattr(facts, "load_tokenizer", lambda name: theirs_too)
    assert facts.facts_of("tiny-target").rules == ""
    assert facts.tokenizer_of("tiny-target") is theirs_too


def test_what_is_damaged_is_found_or_made_anew(cache: Path) -> None:
    require_fit({"target": "tiny-draft-small"}, {}, TEXTS)
    (pack,) = cache.glob("*.pack")
    whole = pack.read_bytes()
    for damage in (b"", whole[:-1], whole[: len(whole) // 2], whole.replace(whole[4096:4200], bytes(104), 1)):
        pack.write_bytes(damage)
        assert not packs.ready(pack)
        require_fit({"target": "tiny-draft-small"}, {}, TEXTS)
        assert pack.read_bytes() == whole
    pack.write_bytes(whole[:-1])
    with pytest.raises(RunInvalid, match=r"'tiny-draft-small': .*is gone or damaged"):
        packs.load("tiny-draft-small", pack)


def test_why_there_is_no_pack_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"target": "tiny-draft-small"}
    with monkeypatch.context() as full_disk:
        full_disk.setattr(packs, "SPARE_BYTES", 1 << 60)
        short = require_fit(models, {}, TEXTS)
    assert not short.packs and "GB free" in short.unpacked["target"] and short.of("target").unpacked
    (line,) = slower(models, short)
    assert line.startswith("model 'tiny-draft-small': every node loads it by transformers") and "GB free" in line
    monkeypatch.setattr(packs, "write_pack", full)
    assert "no space left" in require_fit(models, {}, TEXTS).unpacked["target"]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("cache_home", ["shared", "file", "relative"])
def test_a_cache_folder_that_cannot_be_used_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_home: str
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", "here" if cache_home == "relative" else str(tmp_path / cache_home))
    models = {"target": "tiny-draft-small"}
    found = require_fit(models, {}, TEXTS)
    assert not found.packs and kept.unusable() == found.unpacked["target"] != ""
    whole, of_model = slower(models, found)
    assert whole.startswith("what is found of models cannot be kept") and kept.unusable() in whole
    assert kept.unusable() in of_model


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    models = {"target": "tiny-draft-small"}
    found = require_fit(models, {}, TEXTS)
    assert found.packs and not found.unpacked and slower(models, found) == []


def test_another_model_or_tokenizer_is_kept_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(shipped()["tiny-draft-small"], folder)
    first = kept.place(str(folder), suffix=".json")
    assert first == kept.place("tiny-draft-small", suffix=".json")
    (folder / "tokenizer_config.json").write_text("{}")
    second = kept.place(str(folder), suffix=".json")
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert len({first, second, kept.place(str(folder), suffix=".json")}) == 3


def test_what_is_used_longest_ago_goes_first_and_nothing_of_today(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_fit({"target": "tiny-draft-small", "draft": "tiny-draft"}, {}, TEXTS)
    old, new = (packs.place(name) for name in ("tiny-draft-small", "tiny-draft"))
    assert old.is_file() and new.is_file()
    monkeypatch.setattr(packs, "MOST_BYTES", 1)
    packs._tidy(new)
    assert old.is_file() and new.is_file()
    monkeypatch.setattr(packs, "RECENT_S", -1e9)
    monkeypatch.setattr(packs, "MOST_BYTES", new.stat().st_size)
    packs.ready(old)
    packs.ready(new)
    packs._tidy(new)
    assert new.is_file() and not old.is_file()


@pytest.mark.slow
def test_decodes_from_a_pack_are_those_of_transformers() -> None:
    require_fit({"target": "tiny-target"}, {}, TEXTS)
    lean = passes_of_pack("tiny-target", packs.load("tiny-target", packs.place("tiny-target"))).runtime()
    theirs = CausalRuntime(load_model("tiny-target", threads=1).model)
    draws = random.Random(3)
    for _ in range(4):
        prompt = draws.choices(range(1, 2048), k=draws.randint(1, 40))
        assert target_only(lean, prompt, 24).tokens == target_only(theirs, prompt, 24).tokens


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype, most", [(torch.float32, 5e-7), (torch.float64, 1e-12)])
def test_activations_are_those_of_transformers(name: str, dtype: torch.dtype, most: float) -> None:
    """Closer to what it computes in fp64 than its own in fp32, where 1 + erf loses digits far below 0."""
    edges = [-1e4, -90.0, -6.0, -0.0, 0.0, 6.0, 90.0, 1e4]
    x = torch.cat([torch.linspace(-9, 9, 5001, dtype=dtype), torch.tensor(edges, dtype=dtype)])
    theirs = transformers.activations.ACT2FN[name](x.double()).numpy()
    with np.errstate(over="ignore"):
        ours = ACTIVATIONS[name](x.numpy())
    assert ours.dtype == x.numpy().dtype
    np.testing.assert_allclose(ours, theirs, rtol=most, atol=most)
