"""Finding and loading models: shipped names, folders, and one clear line for everything else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from testbed.errors import BadInput
from testbed.models.load import check_same_tokenizer, load_model, load_tokenizer, model_hash, resolve


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
        resolve("zzzzzz")


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
    check_same_tokenizer(*map(str, folders))


def test_the_shipped_tokenizer_reads_like_any_other() -> None:
    text = "Dorothy said: \u201cna\u00efve \u65e5\u672c\u201d\n    return x  # 42\n"
    ours = load_tokenizer("tiny-target")
    assert ours.decode(ours(text)["input_ids"]) == text
    assert ours.get_vocab() == AutoTokenizer.from_pretrained(str(resolve("tiny-target"))).get_vocab()
