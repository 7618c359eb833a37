"""Output that is fed to the target whole is told from target-only output as surely as by decoding token by token."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.models.compute import on_host
from testbed.models.load import load_model, load_tokenizer
from testbed.models.reference import REQUEST, SURE_GAP, TOKENS_AT_ONCE, surely_target_only, target_only
from testbed.models.runtime import CausalRuntime
from testbed.workload.prompts import load_prompts

TOKENS = 60


@pytest.fixture(scope="module")
def runtime() -> CausalRuntime:
    return CausalRuntime(load_model("tiny-target", threads=1).model)


@pytest.fixture(scope="module")
def outputs(runtime, prompts) -> list[tuple[int, ...]]:
    """What the target says to each prompt."""
    return [target_only(runtime, prompt, TOKENS).tokens for prompt in prompts]


@pytest.fixture(scope="module")
def prompts() -> list[tuple[int, ...]]:
    tokenizer = load_tokenizer("tiny-target")
    return [tuple(tokenizer.encode(one.text)) for one in load_prompts("prose").prompts[:4]]


@pytest.mark.slow
def test_what_the_target_decodes_is_recognised_and_one_changed_token_is_not(runtime, prompts, outputs) -> None:
    recognised = 0
    for prompt, tokens in zip(prompts, outputs, strict=True):
        recognised += surely_target_only(runtime, prompt, tokens, TOKENS)
        for place in (0, TOKENS // 2, TOKENS - 1):
            wrong = (*tokens[:place], tokens[place] + 1, *tokens[place + 1 :])
            assert not surely_target_only(runtime, prompt, wrong, TOKENS)
    assert recognised >= len(prompts) - 1  # one may have a choice that is too close


def test_output_that_ends_too_soon_or_too_late_is_not_recognised(runtime, prompts) -> None:
    prompt = prompts[0]
    tokens = target_only(runtime, prompt, 8).tokens
    assert surely_target_only(runtime, prompt, tokens, 8)
    assert not surely_target_only(runtime, prompt, tokens[:5], 8)
    assert not surely_target_only(runtime, prompt, tokens, 7)
    assert not surely_target_only(runtime, prompt, (), 8)
    if tokens[4] not in tokens[:4]:
        assert surely_target_only(runtime, prompt, tokens[:5], 8, eos=(tokens[4],))
    assert not surely_target_only(runtime, prompt, tokens, 8, eos=(tokens[2],))


@pytest.mark.slow
def test_one_pass_over_many_tokens_gives_the_logits_of_single_passes_to_a_tenth_of_the_margin(
    runtime, prompts, outputs
) -> None:
    worst = 0.0
    for prompt, tokens in zip(prompts, outputs, strict=True):
        fed = [*prompt, *tokens[:-1]]
        runtime.release(REQUEST)
        together = on_host(runtime.forward(REQUEST, 0, fed, TOKENS))
        runtime.release(REQUEST)
        alone = [on_host(runtime.forward(REQUEST, 0, list(prompt)))[0]]
        for at in range(len(prompt), len(fed)):
            alone.append(on_host(runtime.forward(REQUEST, at, [fed[at]]))[0])
        worst = max(worst, float(np.abs(together - np.array(alone)).max()))
    assert 0 < worst < SURE_GAP / 10


@pytest.mark.slow
def test_longer_text_is_fed_in_parts(runtime, prompts, outputs, monkeypatch) -> None:
    prompt, tokens = prompts[0], outputs[0]
    whole = surely_target_only(runtime, prompt, tokens, TOKENS)
    for size in (1, 7, len(prompt), TOKENS_AT_ONCE):
        monkeypatch.setattr("testbed.models.reference.TOKENS_AT_ONCE", size)
        assert surely_target_only(runtime, prompt, tokens, TOKENS) == whole
