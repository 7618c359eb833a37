"""Trial `families`: tiny models of many architectures, random weights, compared with the plain model and `generate()`.

A row says of each kind of pass whether its logits are right, also beyond the model's windows, or in one line why it is
refused; and whether speculation gives the tokens of transformers' own `generate()`. Every path that the product could
take is tried: transformers, and the lean one where it knows the family. Nothing is read from disk or from a network.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from testbed.errors import TestbedError
from testbed.models.load import LoadedModel, quiet
from testbed.models.passes import TRANSFORMERS, passes_of
from testbed.models.selftest import examine, generated
from testbed.models.speculate import speculate

VOCABULARY = 131
WINDOW = 16
REACH = 90  # beyond every boundary below
PROMPTS = (9, 2 * WINDOW + 7)  # tokens: within a window, and beyond it
TOKENS = 16
K = 3

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 256, "initializer_range": 0.3,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
_HEADS: dict[str, Any] = {**_COMMON, "head_dim": 8}
_EVEN: dict[str, Any] = {key: value for key, value in _COMMON.items() if key != "num_key_value_heads"}
_GPT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
_ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
_THETA: dict[str, Any] = {"rope_theta": 10000.0}

# By name: the configuration's class and settings. The first word is the family.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _HEADS),
    "llama, linear positions": (
        "LlamaConfig", {**_HEADS, "rope_parameters": {"rope_type": "linear", "factor": 4.0, **_THETA}}
    ),
    "llama, dynamic NTK": (
        "LlamaConfig",
        {**_HEADS, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 32,
                                       **_THETA}},
    ),
    "llama4, chunks": (
        "Llama4TextConfig",
        {**_HEADS, "attention_chunk_size": WINDOW, "num_local_experts": 2, "num_experts_per_tok": 1,
         "intermediate_size_mlp": 48, "moe_layers": [], "num_hidden_layers": 4},
    ),
    "mistral": ("MistralConfig", {**_HEADS, "sliding_window": None}),
    "mistral, window": ("MistralConfig", {**_HEADS, "sliding_window": WINDOW}),
    "ministral, windows": ("MinistralConfig", {**_HEADS, "sliding_window": WINDOW}),
    "mixtral": ("MixtralConfig", {**_HEADS, "sliding_window": None, **_EXPERTS}),
    "qwen2": ("Qwen2Config", _COMMON),
    "qwen2, some windows": (
        "Qwen2Config", {**_COMMON, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
    ),
    "qwen3": ("Qwen3Config", _HEADS),
    "gemma": ("GemmaConfig", _HEADS),
    "gemma2, windows": ("Gemma2Config", {**_HEADS, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "gemma3, windows": (
        "Gemma3TextConfig",
        {**_HEADS, "sliding_window": WINDOW, "query_pre_attn_scalar": 8, "num_hidden_layers": 3,
         "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
    ),
    "gpt2": ("GPT2Config", _GPT),
    "gptj": ("GPTJConfig", {**_GPT, "rotary_dim": 4}),
    "gpt_neox": ("GPTNeoXConfig", _EVEN),
    "gpt_neo, local": (
        "GPTNeoConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 2, "attention_types": [[["global", "local"], 1]],
         "num_heads": 4, "window_size": WINDOW, "max_position_embeddings": 256, "initializer_range": 0.3, **_ENDS},
    ),
    "gpt_bigcode": ("GPTBigCodeConfig", _GPT),
    "gpt_oss, windows": ("GptOssConfig", {**_HEADS, "sliding_window": WINDOW, **_EXPERTS}),
    "opt": (
        "OPTConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 48, "num_attention_heads": 4,
         "max_position_embeddings": 256, "word_embed_proj_dim": 32, "init_std": 0.3, **_ENDS, "pad_token_id": 1},
    ),
    "bloom, ALiBi": (
        "BloomConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3, **_ENDS},
    ),
    "mpt, ALiBi": (
        "MptConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 2, "n_heads": 4, "initializer_range": 0.3, **_ENDS},
    ),
    "falcon": ("FalconConfig", {**_EVEN, "new_decoder_architecture": False}),
    "falcon, ALiBi": ("FalconConfig", {**_EVEN, "alibi": True}),
    "phi": ("PhiConfig", _COMMON),
    "phi3, window": ("Phi3Config", {**_COMMON, "sliding_window": WINDOW}),
    "phi3, long positions": (
        "Phi3Config",
        {**_COMMON, "sliding_window": None, "original_max_position_embeddings": 32,
         "rope_parameters": {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
                             "original_max_position_embeddings": 32, **_THETA}},
    ),
    "stablelm": ("StableLmConfig", _COMMON),
    "starcoder2, window": ("Starcoder2Config", {**_COMMON, "sliding_window": WINDOW}),
    "olmo2": ("Olmo2Config", _COMMON),
    "olmo3, windows": ("Olmo3Config", {**_COMMON, "sliding_window": WINDOW}),
    "cohere": ("CohereConfig", _COMMON),
    "cohere2, windows": ("Cohere2Config", {**_HEADS, "sliding_window": WINDOW}),
    "granite": ("GraniteConfig", _COMMON),
    "smollm3": ("SmolLM3Config", _COMMON),
    "glm4": ("Glm4Config", _HEADS),
    "nemotron": ("NemotronConfig", _COMMON),
    "mamba": (
        "MambaConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, **_ENDS},
    ),
    "rwkv": (
        "RwkvConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 256, **_ENDS},
    ),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {**_COMMON, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW},
    ),
    "bert": ("BertConfig", {**_EVEN, "max_position_embeddings": 256}),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One family on one path; each is empty where it is right, else the line that refuses it."""

    family: str
    kind: str  # the model's class
    path: str
    lengths: tuple[int, ...]  # of the texts tried
    single: str
    tree: str
    batch: str
    speculation: str


def build(name: str, seed: int = 1) -> LoadedModel:
    """A family's model with random weights, wide enough that greedy text does not fall into a loop at once."""
    import torch
    import transformers

    kind, settings = FAMILIES[name]
    config = getattr(transformers, kind)(**settings)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for weights in model.parameters():  # some classes leave theirs at zero, or as memory was
                if not torch.isfinite(weights).all() or not weights.any():
                    weights.normal_(0, 0.1)
    model.name_or_path = name
    return LoadedModel(name, model, None, "", int(model.num_parameters()), (0,))


def disturbed(name: str) -> LoadedModel:
    """A drafter: the same weights, slightly off, so that it is right often and not always."""
    import torch

    drafter = build(name)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weights in drafter.model.parameters():
            spread = float(weights.std()) if weights.numel() > 1 else 0.0
            weights += 0.02 * spread * torch.randn(weights.shape, generator=noise)
    return drafter


def rows_of(name: str) -> list[Row]:
    """The family on every path that the product could take."""
    target, drafter = build(name), disturbed(name)
    paths = [passes_of(target.model, TRANSFORMERS)]
    if (chosen := passes_of(target.model)).path != TRANSFORMERS:
        paths.append(chosen)
    rows = []
    for path in paths:
        found = examine(target, path.runtime, REACH)
        drafts = passes_of(drafter.model, "auto" if path is chosen else TRANSFORMERS)
        rows.append(
            Row(name, type(target.model).__name__, path.path, found.lengths, found.single, found.tree, found.batch,
                found.single or _speculation(target, path.runtime, drafts.runtime))
        )  # fmt: skip
    return rows


def _speculation(target: LoadedModel, make: Callable[[], Any], make_drafter: Callable[[], Any]) -> str:
    """Where its tokens leave those of `generate()`, or the line that refuses it."""
    for length in PROMPTS:
        prompt = random.Random(length).choices(range(1, VOCABULARY), k=length)
        expected = tuple(generated(target, prompt, TOKENS))
        try:
            tokens = speculate(make(), make_drafter(), 0, prompt, TOKENS, K, target.ends).tokens
        except TestbedError as refusal:
            return str(refusal)
        if tokens != expected:
            return f"WRONG: {tokens} instead of {expected} after {length} tokens"
    return ""


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 3 where speculation is wrong and nothing refuses it."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench families", description=__doc__)
    parser.add_argument("--only", action="append", choices=FAMILIES, metavar="FAMILY", help="may be repeated")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    with quiet():
        rows = [row for name in options.only or FAMILIES for row in rows_of(name)]
    wrong = [row for row in rows if row.speculation.startswith("WRONG")]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 3 if wrong else 0
    print("| family | path | texts of | single | tree | batch | speculation |\n|---|---|---|---|---|---|---|")
    reasons = []
    for row in rows:
        cells = []
        for kind in ("single", "tree", "batch", "speculation"):
            why = getattr(row, kind)
            cells.append("refused" if why and not why.startswith("WRONG") else "WRONG" if why else "right")
            if why:
                reasons.append(f"{row.family} ({row.path}), {kind}: {why}")
        print(f"| {row.family} | {row.path} | {', '.join(map(str, row.lengths))} | {' | '.join(cells)} |")
    families = len({row.family for row in rows})
    print(f"\n{families} families, {len(rows)} rows, {len(wrong)} wrong, {time.monotonic() - begin:.0f} s")
    for reason in reasons:
        print(f"- {reason}")
    return 3 if wrong else 0
