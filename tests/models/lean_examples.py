"""Small models with random weights, one for each kind the lean path takes and each setting that changes its passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

VOCABULARY = 61
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.3}
ROTARY = {
    **COMMON,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
GROUPED = {**ROTARY, "num_key_value_heads": 2}
GPT2 = {**COMMON, "n_positions": 256, "n_embd": 32, "n_layer": 3, "n_head": 4}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 64}

KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "llama, tied": ("Llama", {**GROUPED, "tie_word_embeddings": True}),
    "llama, biases": ("Llama", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "llama, wide heads": ("Llama", {**GROUPED, "head_dim": 12}),
    "llama, one key head": ("Llama", {**ROTARY, "num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    "llama, theta": ("Llama", {**GROUPED, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
    "llama, linear": (
        "Llama",
        {**GROUPED, "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.5}},
    ),
    "llama, llama3": ("Llama", {**GROUPED, "rope_parameters": LLAMA3}),
    "llama, yarn": ("Llama", {**GROUPED, "rope_parameters": YARN}),
    "llama, gelu": ("Llama", {**GROUPED, "hidden_act": "gelu"}),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": None}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen2, tied": ("Qwen2", {**GROUPED, "tie_word_embeddings": True, "max_window_layers": 2, "sliding_window": 8}),
    "qwen3": ("Qwen3", {**GROUPED, "head_dim": 16}),
    "gpt2": ("GPT2", GPT2),
    "gpt2, scaled by layer": ("GPT2", {**GPT2, "scale_attn_by_inverse_layer_idx": True, "n_inner": 40}),
    "gpt2, unscaled": ("GPT2", {**GPT2, "scale_attn_weights": False, "activation_function": "relu"}),
    "gpt2, gelu": ("GPT2", {**GPT2, "activation_function": "gelu", "tie_word_embeddings": False}),
    "neox": ("GPTNeoX", ROTARY),
    "neox, in sequence": ("GPTNeoX", {**ROTARY, "use_parallel_residual": False, "hidden_act": "gelu_new"}),
    "neox, half turned": (
        "GPTNeoX",
        {**ROTARY, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}},
    ),
    "neox, all turned, no bias": (
        "GPTNeoX",
        {
            **ROTARY,
            "attention_bias": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 1.0},
        },
    ),
}

UNKNOWN: dict[str, tuple[str, dict[str, Any], str]] = {
    "mistral with a window": ("Mistral", {**GROUPED, "sliding_window": 8}, "sliding window"),
    "qwen2 with a window": (
        "Qwen2",
        {**GROUPED, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        "sliding window",
    ),
    "qwen3 with layers of another kind": (
        "Qwen3",
        {**GROUPED, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
        "layers of sliding_attention",
    ),
    "positions by length": (
        "Llama",
        {**GROUPED, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}},
        "type dynamic",
    ),
    "positions of two lists": (
        "Llama",
        {
            **GROUPED,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 100.0,
                "factor": 2.0,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0] * 4,
                "original_max_position_embeddings": 64,
            },
        },
        "type longrope",
    ),
    "an activation": ("Llama", {**GROUPED, "hidden_act": "mish"}, "activation mish"),
    "a field nobody knows": ("Llama", {**GROUPED, "logit_softcap": 30.0}, "field logit_softcap"),
    "attention in fp32": ("GPT2", {**GPT2, "reorder_and_upcast_attn": True}, "field reorder_and_upcast_attn"),
    "cross attention": ("GPT2", {**GPT2, "add_cross_attention": True}, "field add_cross_attention"),
    "another class": ("Phi", ROTARY, "PhiForCausalLM"),
}


def build(kind: str, settings: dict[str, Any], seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    """A model of random weights; biases and norms too, which start as zeros and ones."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**settings)
    name = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() == 1:
                weights += 0.2 * torch.randn_like(weights)
    return model.to(dtype).eval()


def without_fp32_norms(model: Any) -> Any:
    """transformers rounds root mean squares to fp32 in an fp64 model too; held to 1e-9, it must not."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = _exact_norm(module)
    return model


def _exact_norm(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(rows: torch.Tensor) -> torch.Tensor:
        return module.weight * (rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + module.variance_epsilon))

    return forward
