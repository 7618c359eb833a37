"""The lean path gives transformers' logits for every kind it takes, in any order of passes, and takes no other kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from testbed.errors import RunInvalid
from testbed.models.batch import BatchRuntime
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.lean import decoder, runtime
from testbed.models.lean.kinds import NotLean, decoder_of
from testbed.models.lean.runtime import LeanRuntime
from testbed.models.load import load_model
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from tests.models.lean_examples import KNOWN, UNKNOWN, VOCABULARY, build, without_fp32_norms

REQUESTS = 3
STEPS = 25
PROMPTS = 24


def close_fp64(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=1e-9)


def close_fp32(ours: Any, theirs: Any) -> None:
    theirs = np.asarray(theirs)
    scale = float(np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-4 * scale)


def tokens_of(draws: random.Random, count: int) -> list[int]:
    return [draws.randrange(VOCABULARY) for _ in range(count)]


def one_walk(ours: Any, theirs: Any, draws: random.Random, same: Callable[[Any, Any], None]) -> None:
    """Random passes of all kinds on a few requests, each from a random place in what its request holds."""

    def start(request: int) -> int:
        held = ours.length(request)
        assert held == theirs.length(request)
        return draws.randint(max(0, held - 6), held)

    for _ in range(STEPS):
        kind = draws.choice(("single", "tree", "batch", "release"))
        request = draws.randrange(REQUESTS)
        if kind == "single":
            tokens = tokens_of(draws, draws.choice((1, 1, 2, 5, 20)))
            last = draws.randint(1, len(tokens))
            position = start(request)
            same(ours.forward(request, position, tokens, last), theirs.forward(request, position, tokens, last))
        elif kind == "tree":
            parents = [draws.randint(-1, node - 1) for node in range(draws.randint(1, 8))]
            nodes, tokens = tokens_of(draws, len(parents)), tokens_of(draws, draws.randint(1, 4))
            wanted = draws.sample(range(-1, len(nodes)), draws.randint(1, len(nodes) + 1))
            feed = (request, start(request), tokens, nodes, parents, wanted)
            same(ours.forward_tree(TreeFeed(*feed)), theirs.forward_tree(TreeFeed(*feed)))
        elif kind == "batch":
            feeds = []
            for one in draws.sample(range(REQUESTS), draws.randint(1, REQUESTS)):
                tokens = tokens_of(draws, draws.choice((1, 3, 9)))
                feeds.append(BatchFeed(one, start(one), tokens, draws.randint(0, len(tokens))))
            for mine, yours in zip(ours.forward_batch(feeds), theirs.forward_batch(feeds), strict=True):
                same(mine, yours)
        elif draws.random() < 0.3:
            ours.release(request)
            theirs.release(request)


@pytest.mark.parametrize("name", KNOWN)
def test_logits_are_those_of_transformers_in_any_order_of_passes(name: str) -> None:
    model = without_fp32_norms(build(*KNOWN[name]))
    for seed in range(3):
        one_walk(LeanRuntime(decoder_of(model)), BatchRuntime(model), random.Random(seed), close_fp64)


@pytest.mark.parametrize("name", KNOWN)
def test_logits_are_those_of_transformers_in_fp32(name: str) -> None:
    model = build(*KNOWN[name], dtype=torch.float32)
    one_walk(LeanRuntime(decoder_of(model)), BatchRuntime(model), random.Random(4), close_fp32)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_not_lean(name: str) -> None:
    kind, settings, reason = UNKNOWN[name]
    with pytest.raises(NotLean, match=reason):
        decoder_of(build(kind, settings))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions_are_not_lean(dtype: torch.dtype) -> None:
    with pytest.raises(NotLean, match=str(dtype).removeprefix("torch.")):
        decoder_of(build(*KNOWN["llama"], dtype=dtype))


def test_a_subclass_is_not_lean() -> None:
    model = build(*KNOWN["llama"])
    model.__class__ = type("LlamaForCausalLM", (type(model),), {})
    with pytest.raises(NotLean, match="LlamaForCausalLM"):
        decoder_of(model)


def test_a_weight_of_an_adapter_is_not_lean() -> None:
    model = build(*KNOWN["llama"])
    model.model.layers[0].self_attn.q_proj.lora_a = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(NotLean, match="lora_a"):
        decoder_of(model)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_long_feeds_are_cut_without_a_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes of few rows and attention in several goes, so that memory stays bounded: the same logits."""
    monkeypatch.setattr(runtime, "MOST_ROWS", 16)
    monkeypatch.setattr(decoder, "MOST_SCORES", 600)
    model = without_fp32_norms(build(*KNOWN[name]))
    ours, theirs = LeanRuntime(decoder_of(model)), BatchRuntime(model)
    text = tokens_of(random.Random(5), 90)
    close_fp64(ours.forward(0, 0, text, 30), theirs.forward(0, 0, text, 30))
    tree = (1, 0, text[:50], [5, 6, 7], [-1, -1, 0], [-1, 1, 2])
    close_fp64(ours.forward_tree(TreeFeed(*tree)), theirs.forward_tree(TreeFeed(*tree)))
    feeds = [BatchFeed(2, 0, text[:40], 20), BatchFeed(3, 0, text[:7], 0), BatchFeed(1, 48, text[48:70], 5)]
    for mine, yours in zip(ours.forward_batch(feeds), theirs.forward_batch(feeds), strict=True):
        close_fp64(mine, yours)


def test_positions_beyond_what_a_model_has_are_refused() -> None:
    """By name where the runtime was told its model's limits, by the arrays where not."""
    for path in (lambda model: LeanRuntime(decoder_of(model)), BatchRuntime):
        held = path(build(*KNOWN["gpt2"]))
        held.forward(0, 0, [1] * 250)
        with pytest.raises((IndexError, RunInvalid)):
            held.forward(0, 250, [1] * 10)


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2"])
@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_tokens_outside_the_vocabulary_are_refused(name: str, token: int) -> None:
    for path in (lambda model: LeanRuntime(decoder_of(model)), BatchRuntime):
        with pytest.raises((IndexError, RunInvalid)):
            path(build(*KNOWN[name])).forward(0, 0, [1, token])


def test_bad_calls_are_refused() -> None:
    lean = LeanRuntime(decoder_of(build(*KNOWN["llama"])))
    lean.forward(0, 0, [1, 2, 3])
    for call in (
        lambda: lean.forward(0, 4, [1]),
        lambda: lean.forward(0, -1, [1]),
        lambda: lean.forward(0, 3, [1], 2),
        lambda: lean.forward(0, 3, []),
        lambda: lean.forward_tree(TreeFeed(0, 3, [], [1], [-1], [0])),
        lambda: lean.forward_batch([BatchFeed(0, 3, [1]), BatchFeed(0, 3, [1])]),
        lambda: lean.forward_batch([BatchFeed(0, 3, [1], 2)]),
    ):
        with pytest.raises(ValueError):
            call()


def test_room_grows_with_what_is_held_and_without_quadratic_copying() -> None:
    """Copied in all: at most a few times what is held at the end; never room for more than half as much again."""
    model = build(*KNOWN["llama, one key head"])
    store = decoder_of(model).held()
    copied = 0
    for tokens in range(1, 5000):
        before = store.room
        store.reserve(tokens)
        copied += before if store.room != before else 0
        store.length = tokens
        assert store.room <= max(64, 1.5 * tokens + 64)
    assert copied < 4 * 5000


def test_a_released_request_is_forgotten() -> None:
    lean = LeanRuntime(decoder_of(build(*KNOWN["llama"])))
    first = lean.forward(7, 0, [1, 2, 3])
    lean.release(7)
    assert lean.length(7) == 0
    np.testing.assert_array_equal(lean.forward(7, 0, [1, 2, 3]), first)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-target", "tiny-draft", "tiny-draft-small"])
def test_greedy_decodes_of_the_shipped_models_are_those_of_transformers(name: str) -> None:
    loaded = load_model(name, threads=1)
    ours, theirs = LeanRuntime(decoder_of(loaded.model)), CausalRuntime(loaded.model)
    draws = random.Random(6)
    words: Sequence[int] = range(1, loaded.model.config.vocab_size)
    for _ in range(PROMPTS):
        prompt = draws.choices(words, k=draws.randint(1, 40))
        assert target_only(ours, prompt, 24).tokens == target_only(theirs, prompt, 24).tokens
