"""Time a pair in this process: passes by tokens fed, and whole decodes three ways on the same prompts.

Rule: the comparison (plain greedy, our loop, transformers' assisted generation) uses the same models, prompts, draft
length and thread count, one after another, so that only the loop differs.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.models.compute import Runtime
from testbed.models.load import quiet
from testbed.models.lookup import LONGEST
from testbed.models.reference import decode
from testbed.models.runtime import CausalRuntime
from testbed.models.speculate import speculate

REQUEST = 0
FED = (1, 4, 8)
REPEATS = 15
RATE_PROMPTS = 4  # enough for a stable rate, few enough to wait for


@dataclass(frozen=True)
class Rates:
    """Tokens a second of three decoders in one process; `threads` is torch's thread count at the time."""

    k: int
    threads: int
    plain: float
    speculative: float
    transformers_plain: float
    transformers_assisted: float | None  # None: it cannot do pairs whose vocabularies differ in size


def pass_ms(runtime: Runtime, prompt: Sequence[int]) -> dict[int, float]:
    """Median time of a cached pass after `prompt`, by the number of tokens fed."""
    runtime.forward(REQUEST, 0, prompt)
    times = {}
    for fed in FED:
        tokens = [prompt[-1]] * fed
        samples = [_seconds(lambda: runtime.forward(REQUEST, len(prompt), tokens, last=len(tokens)))]  # noqa: B023
        for _ in range(REPEATS):
            samples.append(_seconds(lambda: runtime.forward(REQUEST, len(prompt), tokens, last=len(tokens))))  # noqa: B023
        times[fed] = 1000 * statistics.median(samples)
    runtime.release(REQUEST)
    return times


def rates(
    target: CausalRuntime,
    drafter: Runtime,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    k: int,
    ends: Sequence[int],
    assist: Callable[[Sequence[int]], int] | None,
) -> Rates:
    """Decode the first few prompts with each decoder, up to the end of text; `assist` is transformers' with drafts."""
    import torch

    chosen = prompts[:RATE_PROMPTS]

    def rate(decoder: Callable[[Sequence[int]], int]) -> float:
        decoder(chosen[0])  # the first call pays for set-up
        start = time.perf_counter()
        tokens = sum(decoder(prompt) for prompt in chosen)
        return tokens / (time.perf_counter() - start)

    return Rates(
        k=k,
        threads=torch.get_num_threads(),
        plain=rate(lambda prompt: sum(1 for _ in decode(target, prompt, max_tokens, eos=ends))),
        speculative=rate(lambda prompt: len(speculate(target, drafter, REQUEST, prompt, max_tokens, k, ends).tokens)),
        transformers_plain=rate(lambda prompt: len(generated(target.model, prompt, max_tokens))),
        transformers_assisted=None if assist is None else rate(assist),
    )


def generated(model: Any, prompt: Sequence[int], max_tokens: int, **settings: Any) -> list[int]:
    """The greedy tokens of transformers' own generate()."""
    import torch

    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.inference_mode(), quiet():
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens, **settings
        )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def assisted(model: Any, assistant: Any, prompt: Sequence[int], max_tokens: int, k: int) -> list[int]:
    """The same with an assistant model that always drafts `k` tokens."""
    with _constant_drafts(assistant, k):
        return generated(model, prompt, max_tokens, assistant_model=assistant)


def looked_up(model: Any, prompt: Sequence[int], max_tokens: int, k: int) -> list[int]:
    """The same with transformers' own prompt lookup, of as many tokens to match as ours."""
    return generated(model, prompt, max_tokens, prompt_lookup_num_tokens=k, max_matching_ngram_size=LONGEST)


@contextmanager
def _constant_drafts(assistant: Any, k: int) -> Iterator[None]:
    """Transformers reads the draft length from the assistant's own generation settings."""
    settings = assistant.generation_config
    wanted = {
        "num_assistant_tokens": k,
        "num_assistant_tokens_schedule": "constant",
        "assistant_confidence_threshold": 0.0,
    }
    before = {name: getattr(settings, name, None) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def resident_mib() -> float:
    """Memory this process holds now (Linux), or its peak where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
