"""Finding and loading models: shipped names, folders, and one clear line for everything else."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from testbed.errors import BadInput
from testbed.models.load import check_same_tokenizer, load_model, load_tokenizer, model_hash, resolve, shipped


def save_tokenizer(folder: Path, text: str, vocabulary: int = 300, end: str = "<end>") -> Path:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<end>", "<other>"]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=specials, initial_alphabet=alphabet)
    bpe.train_from_iterator([text], trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end).save_pretrained(folder)
    return folder


def save_model(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    return save_tokenizer(folder, "the cat sat on the mat and the dog ran after it")


def test_importing_the_loader_imports_no_torch() -> None:
    modules = "testbed.models.load, testbed.models.catalogue, testbed.models.check"
    code = f"import sys, {modules}; print({{'torch', 'transformers'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_an_unknown_name_lists_the_shipped_ones_and_the_nearest() -> None:
    with pytest.raises(BadInput) as caught:
        resolve("tiny-darft")
    message = str(caught.value)
    assert "did you mean 'tiny-draft'?" in message
    assert all(name in message for name in ("tiny-target", "tiny-draft", "tiny-draft-small"))
    assert "\n" not in message


def test_a_name_like_nothing_gets_no_guess() -> None:
    with pytest.raises(BadInput, match="unknown: choose tiny-draft"):
        resolve("y")


def test_a_hub_name_is_left_to_transformers() -> None:
    assert resolve("openai-community/gpt2") == "openai-community/gpt2"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_any_folder_loads_with_its_weights_hash(tmp_path: Path, family: Any) -> None:
    folder = save_model(tmp_path / "mine", family(0).float())
    loaded = load_model(str(folder), dtype="float64")
    assert loaded.parameters == sum(weights.numel() for weights in family(0).parameters())
    assert str(loaded.model.dtype) == "torch.float64" and not loaded.model.training
    weights = (folder / "model.safetensors").read_bytes()
    assert loaded.sha256 == hashlib.sha256(weights).hexdigest()


def test_other_weights_have_another_hash(tmp_path: Path, family: Any) -> None:
    hashes = {model_hash(str(save_model(tmp_path / str(seed), family(seed)))) for seed in (0, 1)}
    assert len(hashes) == 2


def test_a_folder_with_damaged_weights_is_one_line(tmp_path: Path, family: Any) -> None:
    folder = save_model(tmp_path / "mine", family(0))
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="cannot be loaded") as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(BadInput, match="dtype 'float31' is unknown"):
        load_model("tiny-draft", dtype="float31")


def pair_of_configs(tmp_path: Path, family: Any) -> tuple[Path, Path]:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        family(0).config.save_pretrained(folder)
    return folders


@pytest.mark.parametrize(
    ("text", "vocabulary", "end", "difference"),
    [
        ("the cat sat on the mat", 264, "<end>", "vocabularies of 300 and 264 tokens"),
        ("other words entirely here, which merge in different ways again and again", 300, "<end>", "has ids"),
        ("the cat sat on the mat and the dog ran after it", 300, "<other>", "end-of-text ids 0 and 1"),
    ],
)
def test_different_tokenizers_are_named(
    tmp_path: Path, families: dict[str, Any], text: str, vocabulary: int, end: str, difference: str
) -> None:
    ours, theirs = pair_of_configs(tmp_path, families["llama"])
    save_tokenizer(ours, "the cat sat on the mat and the dog ran after it, a long way over the hill and home")
    save_tokenizer(theirs, text, vocabulary, end)
    if "end-of-text" in difference:
        save_tokenizer(ours, text)
    with pytest.raises(BadInput) as caught:
        check_same_tokenizer(str(ours), str(theirs))
    message = str(caught.value)
    assert difference in message and repr(str(ours)) in message and repr(str(theirs)) in message
    assert "\n" not in message


def test_a_pair_with_one_tokenizer_passes(tmp_path: Path, families: dict[str, Any]) -> None:
    folders = pair_of_configs(tmp_path, families["llama"])
    for folder in folders:
        save_tokenizer(folder, "the cat sat on the mat")
    ours, theirs = map(str, folders)
    check_same_tokenizer(ours, theirs)


def test_the_shipped_tokenizer_reads_like_any_other() -> None:
    text = "Dorothy said: \u201cna\u00efve \u65e5\u672c\u201d\n    return x  # 42\n"
    ours = load_tokenizer("tiny-target")
    assert ours.decode(ours(text)["input_ids"]) == text
    assert ours.get_vocab() == AutoTokenizer.from_pretrained(str(resolve("tiny-target"))).get_vocab()


def damaged(tmp_path: Path, file: str, content: bytes | None) -> str:
    """A copy of the shipped draft with one file changed, or gone."""
    folder = tmp_path / "mine"
    shutil.copytree(shipped()["tiny-draft"], folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    return str(folder)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9087654\n"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.safetensors", POINTER, r"model\.safetensors.*git lfs pull"),
        ("model.safetensors", b"", r"model\.safetensors: is empty"),
        ("model.safetensors", b"\x10" + bytes(7) + b"{}" + bytes(90), r"model\.safetensors: is not a whole"),
        ("config.json", POINTER, r"config\.json.*git lfs pull"),
        ("tokenizer.json", None, r"tokenizer\.json is missing"),
        ("tokenizer.json", b'{"version":', r"tokenizer\.json:1: is not JSON"),
        ("tokenizer.json", b'{"version": "9", "model": {"type": "Tomorrow"}}', r"tokenizer\.json cannot be read by"),
    ],
)
def test_a_damaged_folder_is_one_line_with_the_file(tmp_path: Path, file: str, content: bytes, words: str) -> None:
    name = damaged(tmp_path, file, content)
    if file == "tokenizer.json" and content is None:
        (Path(name) / "tokenizer_config.json").unlink()
    with pytest.raises(BadInput, match=words) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def test_weights_that_leave_a_part_of_the_model_to_chance_are_refused(tmp_path: Path) -> None:
    """transformers would fill the rest with random numbers, and warn where nobody sees it."""
    folder = tmp_path / "mine"
    shutil.copytree(shipped()["tiny-draft"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": config["num_hidden_layers"] + 1}))
    with pytest.raises(BadInput, match=r"its weights lack \d+ of the parameters of LlamaForCausalLM, model\.layers"):
        load_model(str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2 * config["hidden_size"]}))
    with pytest.raises(BadInput, match=r"its weights do not fit \d+ of the parameters"):
        load_model(str(folder))


def test_an_encoder_is_no_decoder(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    for file in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped()["tiny-draft"] / file, folder / file)
    sizes = {"vocab_size": 2048, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    said = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "intermediate_size": 64, **sizes}
    (folder / "config.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="BertLMHeadModel is not a decoder"):
        load_model(str(folder))


@pytest.mark.slow
def test_code_in_a_models_folder_is_not_run_and_nothing_is_asked(tmp_path: Path) -> None:
    """With somebody at the terminal who would say yes to everything."""
    folder = tmp_path / "mine"
    shutil.copytree(shipped()["tiny-draft"], folder)
    mark = tmp_path / "mark"
    (folder / "own.py").write_text(f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n")
    for file, key, value in (
        ("config.json", "AutoConfig", "own.C"), ("tokenizer_config.json", "AutoTokenizer", ["own.T", None])
    ):  # fmt: skip
        said = json.loads((folder / file).read_text()) | {"auto_map": {key: value}, "tokenizer_class": "T"}
        (folder / file).write_text(json.dumps(said))
    command = [sys.executable, "-m", "testbed", "models", "check", str(folder), "tiny-draft", "--limit", "1"]
    result = subprocess.run(command, input="y\n" * 50, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2 and not mark.exists()
    assert "contains custom code (auto_map), which is never run" in result.stderr
    assert "[y/N]" not in result.stdout + result.stderr
