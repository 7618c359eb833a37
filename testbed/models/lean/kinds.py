"""Which models the lean path takes, by configuration, and their weights written as it reads them.

Rule: only what is known is taken. A class, a configuration field that is set away from its default, an activation, a
kind of positions or a weight that is not named here means transformers; the reason is said in words. What a model
computes from its configuration alone (scale of the scores, cosines and sines of the positions) is asked of the model
itself rather than computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import msgspec
import numpy as np

from testbed.models.lean.activations import ACTIVATIONS
from testbed.models.lean.decoder import Decoder, Shape
from testbed.models.lean.pack import Contents, LayerSpans, MatrixSpans, Span, Writer, nameless, open_pack
from testbed.models.limits import room_of, rows_of

Array = np.ndarray[Any, np.dtype[Any]]


class NotLean(Exception):
    """Why a model is not taken, in a few words."""


# Fields that change nothing in a pass: names and tokens, training, and what transformers itself does with outputs.
IDLE = {
    *("architectures", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "dtype", "torch_dtype"),
    *("transformers_version", "use_cache", "initializer_range", "_name_or_path", "model_type", "pretraining_tp"),
    *("attention_dropout", "hidden_dropout", "classifier_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
    *("task_specific_params", "id2label", "label2id", "return_dict", "_attn_implementation"),
    *("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"),
    *("max_window_layers", "use_sliding_window", "sliding_window", "layer_types"),  # looked at by `_whole_text`
}
SIZES = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act"}
ROTARY = {*SIZES, "max_position_embeddings", "rope_parameters", "tie_word_embeddings", "attention_bias"}
LLAMA = {*ROTARY, "num_key_value_heads", "head_dim", "rms_norm_eps", "mlp_bias"}
FIELDS = {  # by class: what is read, or is in the weights
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "Qwen3ForCausalLM": LLAMA,
    "GPT2LMHeadModel": {
        *("vocab_size", "n_positions", "n_ctx", "n_embd", "n_layer", "n_head", "n_inner", "activation_function"),
        *("layer_norm_epsilon", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "tie_word_embeddings"),
    },
    "GPTNeoXForCausalLM": {*ROTARY, "layer_norm_eps", "use_parallel_residual"},
}
FIXED_TURNS = {"default", "linear", "llama3", "yarn"}  # kinds of rotary positions that depend on nothing but the place


def decoder_of(model: Any) -> Decoder:
    """The lean form of a transformers model; NotLean says why there is none."""
    with nameless() as file:
        write_pack(model, file)
        return open_pack(file).decoder


def write_pack(model: Any, file: IO[bytes], sha256: str = "") -> None:
    """The lean form of a transformers model as a file, which also says its weights' hash; NotLean: there is none."""
    _check(model)
    weights = _Weights(model, Writer(file))
    name = type(model).__name__
    contents = {"GPT2LMHeadModel": _gpt2, "GPTNeoXForCausalLM": _neox}.get(name, _llama)(model, weights)
    if left := weights.left:
        raise NotLean(f"unknown weights: {sorted(left)[0]}")
    weights.writer.finish(msgspec.structs.replace(contents, weights=sha256))


def _check(model: Any) -> None:
    import transformers

    name, config = type(model).__name__, model.config
    if name not in FIELDS or getattr(transformers, name, None) is not type(model):
        raise NotLean(f"{name} is not among {', '.join(FIELDS)}")
    if model.device.type != "cpu":
        raise NotLean(f"it is on {model.device.type}")
    if str(model.dtype) not in ("torch.float32", "torch.float64"):
        raise NotLean(f"its weights are {str(model.dtype).removeprefix('torch.')}")
    usual = type(config)().to_dict()
    changed = {field for field, value in config.to_dict().items() if field not in usual or value != usual[field]}
    if unknown := changed - IDLE - FIELDS[name]:
        raise NotLean(f"unknown configuration field {sorted(unknown)[0]}")
    _whole_text(config)
    activation = _activation(config)
    if activation not in ACTIVATIONS:
        raise NotLean(f"activation {activation} is not known")


def _activation(config: Any) -> str:
    return str(config.activation_function if hasattr(config, "activation_function") else config.hidden_act)


def _whole_text(config: Any) -> None:
    """Every layer sees all that came before."""
    if getattr(config, "sliding_window", None) is not None:
        raise NotLean("it has a sliding window")
    if other := set(getattr(config, "layer_types", None) or ()) - {"full_attention"}:
        raise NotLean(f"it has layers of {sorted(other)[0]}")


class _Weights:
    """A model's weights as arrays; says which were never taken."""

    def __init__(self, model: Any, writer: Writer) -> None:
        self.writer = writer
        self._all: Mapping[str, Any] = model.state_dict()
        self.left = set(self._all)
        self.known = ("", rows_of(model.config), room_of(model.config), str(model.dtype).removeprefix("torch."))
        if {str(one.dtype) for one in self._all.values()} != {str(model.dtype)}:
            raise NotLean("its weights have several dtypes")
        if model.config.tie_word_embeddings:
            self.left.discard("lm_head.weight")

    def __call__(self, name: str) -> Array:
        found = self.maybe(name)
        if found is None:
            raise NotLean(f"weight {name} is missing")
        return found

    def maybe(self, name: str) -> Array | None:
        self.left.discard(name)
        return np.asarray(self._all[name].detach().numpy()) if name in self._all else None

    def linear(self, names: Sequence[str], transposed: bool = True) -> tuple[Array, Array | None]:
        """Layers that read the same rows, side by side: [inner, columns] and the bias."""
        parts = [self(f"{name}.weight") for name in names]
        biases = [self.maybe(f"{name}.bias") for name in names]
        weight = np.concatenate([part.T if transposed else part for part in parts], axis=1)
        if all(one is None for one in biases):
            return weight, None
        whole = [
            np.zeros(part.shape[0 if transposed else 1], part.dtype) if bias is None else bias
            for part, bias in zip(parts, biases, strict=True)
        ]
        return weight, np.concatenate(whole)

    def after(
        self, norm: str, weight: Array, bias: Array | None, columns: Callable[[Array], Array] = lambda all: all
    ) -> MatrixSpans:
        """The matrix with the weights of the norm before it inside; `columns` changes the order or scale of columns."""
        scale, shift = self(f"{norm}.weight"), self.maybe(f"{norm}.bias")
        if shift is not None:
            bias = shift @ weight + (0 if bias is None else bias)
        weight = columns(scale[:, None] * weight)
        return self.matrix(weight, None if bias is None else columns(bias[None])[0])

    def matrix(self, weight: Array, bias: Array | None = None) -> MatrixSpans:
        return self.writer.matrix(weight, bias)

    def array(self, name: str) -> Span:
        return self.writer.array(self(name))


def _llama(model: Any, weights: _Weights) -> Contents:
    """Llama, Mistral, Qwen 2 and Qwen 3: root mean squares, rotary positions, gated MLP."""
    config, base = model.config, model.model
    first = base.layers[0].self_attn
    heads, key_heads, width = config.num_attention_heads, config.num_key_value_heads, first.head_dim
    turns = _turns(model, base.rotary_emb, width, weights)
    layers = []
    for index, block in enumerate(base.layers):
        name = f"model.layers.{index}."
        scaling = block.self_attn.scaling
        queries = weights.maybe(f"{name}self_attn.q_norm.weight")
        keys = weights.maybe(f"{name}self_attn.k_norm.weight")
        head_norm = None
        if queries is not None and keys is not None:
            both = np.concatenate([np.tile(queries * scaling, (heads, 1)), np.tile(keys, (key_heads, 1))])
            head_norm = weights.writer.array(both)
        qkv = weights.linear([f"{name}self_attn.{part}_proj" for part in "qkv"])
        layers.append(
            LayerSpans(
                weights.after(
                    f"{name}input_layernorm", *qkv, _scaled(heads * width, 1.0 if head_norm is not None else scaling)
                ),
                head_norm,
                weights.matrix(*weights.linear([f"{name}self_attn.o_proj"])),
                weights.after(
                    f"{name}post_attention_layernorm",
                    *weights.linear([f"{name}mlp.gate_proj", f"{name}mlp.up_proj"]),
                ),
                weights.matrix(*weights.linear([f"{name}mlp.down_proj"])),
            )
        )
    shape = Shape(heads, key_heads, width, config.rms_norm_eps, centred=False, gated=True, parallel=False)
    head, embedding = _ends(weights, "model.embed_tokens.weight", config)
    norm = weights.array("model.norm.weight")
    return Contents(*weights.known, shape, tuple(layers), _activation(config), norm, None, head, embedding, turns=turns)


def _gpt2(model: Any, weights: _Weights) -> Contents:
    """GPT-2: layer norms, learned positions. Its weights are stored the other way round."""
    config, base = model.config, model.transformer
    heads = config.n_head
    width = config.n_embd // heads
    layers = []
    for index, block in enumerate(base.h):
        name = f"transformer.h.{index}."
        layers.append(
            LayerSpans(
                weights.after(
                    f"{name}ln_1",
                    *weights.linear([f"{name}attn.c_attn"], transposed=False),
                    _scaled(heads * width, block.attn.scaling),
                ),
                None,
                weights.matrix(*weights.linear([f"{name}attn.c_proj"], transposed=False)),
                weights.after(f"{name}ln_2", *weights.linear([f"{name}mlp.c_fc"], transposed=False)),
                weights.matrix(*weights.linear([f"{name}mlp.c_proj"], transposed=False)),
            )
        )
    shape = Shape(heads, heads, width, config.layer_norm_epsilon, centred=True, gated=False, parallel=False)
    head, embedding = _ends(weights, "transformer.wte.weight", config)
    norm, bias = (weights.array(f"transformer.ln_f.{part}") for part in ("weight", "bias"))
    places = weights.array("transformer.wpe.weight")
    return Contents(
        *weights.known, shape, tuple(layers), _activation(config), norm, bias, head, embedding, places=places
    )


def _neox(model: Any, weights: _Weights) -> Contents:
    """GPT-NeoX (Pythia): layer norms, rotary positions over a part of each head, attention and MLP side by side."""
    config, base = model.config, model.gpt_neox
    heads = config.num_attention_heads
    width = config.hidden_size // heads
    turns = _turns(model, base.rotary_emb, base.layers[0].attention.rotary_ndims, weights)
    # a head's queries, keys and values lie together: all queries first, then all keys, then all values
    order = np.arange(3 * heads * width).reshape(heads, 3, width).transpose(1, 0, 2).ravel()
    layers = []
    for index, block in enumerate(base.layers):
        name = f"gpt_neox.layers.{index}."
        scaled = _scaled(heads * width, block.attention.scaling)
        layers.append(
            LayerSpans(
                weights.after(
                    f"{name}input_layernorm",
                    *weights.linear([f"{name}attention.query_key_value"]),
                    lambda columns, scaled=scaled: scaled(columns[:, order]),  # type: ignore[misc]
                ),
                None,
                weights.matrix(*weights.linear([f"{name}attention.dense"])),
                weights.after(f"{name}post_attention_layernorm", *weights.linear([f"{name}mlp.dense_h_to_4h"])),
                weights.matrix(*weights.linear([f"{name}mlp.dense_4h_to_h"])),
            )
        )
    parallel = config.use_parallel_residual
    shape = Shape(heads, heads, width, config.layer_norm_eps, centred=True, gated=False, parallel=parallel)
    head, embedding = _ends(weights, "gpt_neox.embed_in.weight", config)
    norm, bias = (weights.array(f"gpt_neox.final_layer_norm.{part}") for part in ("weight", "bias"))
    return Contents(*weights.known, shape, tuple(layers), _activation(config), norm, bias, head, embedding, turns=turns)


def _scaled(count: int, scaling: float) -> Callable[[Array], Array]:
    """The first `count` columns, the queries, times the scale of the scores."""

    def change(columns: Array) -> Array:
        columns = np.array(columns)
        columns[:, :count] *= scaling
        return columns

    return change


def _ends(weights: _Weights, embedding: str, config: Any) -> tuple[MatrixSpans, Span | None]:
    """The head, and the embeddings; None where they are the head itself, so that they are held once."""
    table = weights(embedding)
    if config.tie_word_embeddings:
        return weights.matrix(table.T), None
    return weights.matrix(*weights.linear(["lm_head"])), weights.writer.array(table)


def _turns(model: Any, module: Any, width: int, weights: _Weights) -> tuple[Span, Span]:
    """Cosines and signed sines of every position that the model has, as its own module gives them."""
    import torch

    kind = model.config.rope_parameters.get("rope_type", "default")
    if kind not in FIXED_TURNS:
        raise NotLean(f"rotary positions of type {kind} are not known")
    places = room_of(model.config)
    if places is None:
        raise NotLean("its configuration does not say how many positions it has")
    with torch.inference_mode():
        turns = module(torch.zeros(1, dtype=model.dtype), torch.arange(places)[None])
    cosines, sines = (one[0].numpy().reshape(places, 1, 2, -1) for one in turns)
    if 2 * cosines.shape[3] != width:
        raise NotLean(f"rotary positions turn {2 * cosines.shape[3]} of {width} numbers")
    signed = np.array(sines)
    signed[:, :, 0] *= -1
    return weights.writer.array(cosines), weights.writer.array(signed)
