"""Tiny random pairs: rotary (Llama) and absolute positions (GPT-2); rotary models alone would hide position bugs.

PyTorch and transformers are imported where they are used: conftests import this whatever is collected.
"""

from __future__ import annotations

from typing import Any

import pytest

VOCABULARY = 61


def llama(seed: int, layers: int = 2) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=256,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=0,
    )
    return LlamaForCausalLM(config).double().eval()


def gpt2(seed: int, layers: int = 2) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=256,
        n_embd=32,
        n_layer=layers,
        n_head=2,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=0,
    )
    return GPT2LMHeadModel(config).double().eval()


FAMILIES = {"llama": llama, "gpt2": gpt2}


@pytest.fixture
def families() -> dict[str, Any]:
    return FAMILIES


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> Any:
    """Builds models of one architecture from a seed."""
    return FAMILIES[request.param]


@pytest.fixture
def near_pair(family: Any) -> tuple[Any, Any]:
    """A target and a drafter that is the target with slightly disturbed weights: they agree often, not always."""
    import torch

    target, drafter = family(1), family(1)
    torch.manual_seed(2)
    with torch.no_grad():
        for weights in drafter.parameters():
            weights += 0.02 * torch.randn_like(weights)
    return target, drafter


@pytest.fixture
def full_logits() -> Any:
    """The golden answer: one uncached pass over a whole sequence, in fp64."""
    import torch

    def run(model: Any, tokens: list[int]) -> Any:
        with torch.inference_mode():
            return model(torch.tensor([tokens]), use_cache=False).logits[0]

    return run


@pytest.fixture
def sequence() -> list[int]:
    import torch

    return torch.randint(1, VOCABULARY, (40,), generator=torch.Generator().manual_seed(3)).tolist()
