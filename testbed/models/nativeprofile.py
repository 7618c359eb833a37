"""`testbed models profile`: times a model's real passes on this machine and writes them down as a device profile.

A pass is timed until its logits are in this machine's memory, as a node program waits for them; so the times of a GPU
include its copy. The profile says what it was measured on, and only what was measured: nothing is fitted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from testbed.errors import BadInput
from testbed.files.whole import replacing
from testbed.models.compute import Runtime
from testbed.models.devices import DeviceProfile
from testbed.models.limits import room_of
from testbed.models.load import LoadedModel, load_model
from testbed.models.passes import passes_of
from testbed.models.placement import CPU, described, plain_words, prepare

CACHED = 64  # tokens held before each timed pass: a short prompt
REPEATS = 15  # their median; a shared machine disturbs some
WARM_UP = 3
REQUEST = 0


def measure(
    name: str, device: str = CPU, threads: int = 1, max_pass_tokens: int = 256, note: Callable[[str], None] = print
) -> DeviceProfile:
    """The profile of a model as it runs here. Raises BadInput or MachineCannot."""
    if max_pass_tokens < 1:
        raise BadInput(f"--max-pass-tokens {max_pass_tokens}: at least 1")
    prepare(device)
    with plain_words(device):
        return _measured(name, device, threads, max_pass_tokens, note)


def _measured(name: str, device: str, threads: int, max_pass_tokens: int, note: Callable[[str], None]) -> DeviceProfile:
    loaded = load_model(name, device=device, threads=threads)
    limit = room_of(loaded.model.config)
    if limit is not None and CACHED + max_pass_tokens > limit:
        raise BadInput(f"--max-pass-tokens {max_pass_tokens}: {name} has {limit} positions; at most {limit - CACHED}")
    passes = passes_of(loaded.model)
    runtime = passes.runtime()
    knots = []
    for tokens in counts(max_pass_tokens):
        knots.append((tokens, round(_median_ms(runtime, tokens), 4)))
        note(f"{tokens} tokens: {knots[-1][1]} ms")
    return DeviceProfile(
        name=f"{name} on this machine",
        device=described(device, threads),
        model=f"{name}, {loaded.parameters} parameters, fp32, weights {loaded.sha256[:12]}",
        kind="measured",
        source=f"testbed models profile: median of {REPEATS} passes after {CACHED} cached tokens",
        note=f"As a node program meets it, passes by {passes.described}: until the logits are in the machine's memory, "
        "batch of one.",
        pass_ms=tuple(knots),
        max_pass_tokens=max_pass_tokens,
        kv_bytes_per_token=_kv_bytes(loaded),
    )


def counts(most: int) -> list[int]:
    """Powers of two up to `most`, and `most` itself."""
    powers = [1 << power for power in range(most.bit_length())]
    return [*(one for one in powers if one < most), most]


def write(profile: DeviceProfile, path: Path) -> None:
    """As a file that `devices:` can name."""
    values: dict[str, Any] = profile.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    with replacing(path) as partial:
        partial.write_text(yaml.safe_dump(values, sort_keys=False, width=100))


def _median_ms(runtime: Runtime, tokens: int) -> float:
    feed = [1] * tokens
    runtime.forward(REQUEST, 0, [1] * CACHED)
    samples = [_ms(runtime, feed) for _ in range(WARM_UP + REPEATS)][WARM_UP:]
    runtime.release(REQUEST)
    return statistics.median(samples)


def _ms(runtime: Runtime, feed: Sequence[int]) -> float:
    start = time.perf_counter()
    runtime.forward(REQUEST, CACHED, feed, last=len(feed))
    return (time.perf_counter() - start) * 1e3


def _kv_bytes(loaded: LoadedModel) -> int | None:
    """Keys and values of one token in every layer, in the type they are computed in."""
    config = loaded.model.config
    layers, heads = getattr(config, "num_hidden_layers", None), getattr(config, "num_attention_heads", None)
    width = getattr(config, "hidden_size", None)
    if not (layers and heads and width):
        return None
    head = getattr(config, "head_dim", None) or width // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * layers * shared * head * loaded.model.dtype.itemsize)
