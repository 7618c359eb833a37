"""The tokens that end an output are those of `generate()`, and what a checkpoint wants done to logits is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from testbed.models.generation import end_tokens, left_alone, not_applied
from testbed.models.load import load_model, shipped
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from testbed.models.speculate import speculate

FULL_STOP = 14


@pytest.mark.parametrize("where", ["generation_config.json", "config.json"])
def test_an_output_ends_with_the_first_of_several_end_tokens_as_in_generate(tmp_path: Path, where: str) -> None:
    """Wherever the list stands: a checkpoint without a generation configuration means its model's."""
    folder = tmp_path / "target"
    shutil.copytree(shipped()["tiny-target"], folder)
    if where == "config.json":
        (folder / "generation_config.json").unlink()
    said = json.loads((folder / where).read_text())
    (folder / where).write_text(json.dumps(said | {"eos_token_id": [0, FULL_STOP]}))
    loaded = load_model(str(folder), threads=1)
    assert loaded.ends == (0, FULL_STOP)
    prompt = loaded.tokenizer.encode("The road to the city was long and")
    ids = torch.tensor([prompt])
    generated = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=60)
    expected = tuple(generated[0, len(prompt) :].tolist())
    assert len(expected) < 60 and expected[-1] == FULL_STOP
    runtime = CausalRuntime(loaded.model)
    assert target_only(runtime, prompt, 60, eos=loaded.ends).tokens == expected
    assert speculate(runtime, CausalRuntime(loaded.model), 0, prompt, 60, 4, loaded.ends).tokens == expected


class Said(SimpleNamespace):
    def get_text_config(self, decoder: bool = False) -> Any:
        return self


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "ends"),
    [([9, 2, 9], 3, 4, (2, 9)), (None, 3, 4, (3,)), (None, None, 4, (4,)), (None, None, None, ()), (0, [1], 4, (0,))],
)
def test_the_first_place_that_names_any_decides(
    generation: Any, config: Any, tokenizer: Any, ends: tuple[int, ...]
) -> None:
    said = (
        SimpleNamespace(eos_token_id=generation),
        Said(eos_token_id=config),
        SimpleNamespace(eos_token_id=tokenizer),
    )
    assert end_tokens(*said) == ends


def test_processing_that_a_checkpoint_asks_for_and_that_is_not_done_is_named() -> None:
    idle = SimpleNamespace(repetition_penalty=1.0, suppress_tokens=None, num_beams=1, temperature=0.6, do_sample=True)
    assert not_applied(idle) == ""
    busy = SimpleNamespace(repetition_penalty=1.3, suppress_tokens=[5], forced_eos_token_id=7)
    assert not_applied(busy) == "repetition_penalty 1.3, suppress_tokens [5], forced_eos_token_id 7"
    assert left_alone(busy) == {
        "do_sample": False, "repetition_penalty": 1.0, "suppress_tokens": [], "forced_eos_token_id": None
    }  # fmt: skip
