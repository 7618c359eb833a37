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

import numpy as np
import yaml

from testbed.errors import BadInput
from testbed.files.whole import replacing
from testbed.models.compute import Runtime
from testbed.models.devices import DeviceProfile
from testbed.models.limits import room_of
from testbed.models.load import LoadedModel, load_model
from testbed.models.passes import passes_of
from testbed.models.placement import CPU, described, plain_words, prepare
from testbed.models.variation import Variation

CACHED = 64  # tokens held before each timed pass: a short prompt
REPEATS = 15  # their median; a shared machine disturbs some
REPEATS_VARYING = 200  # for quantiles: with nine lengths, 18 passes are beyond the 99th percentile
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)  # that quantiles are kept at
WARM_UP = 3
REQUEST = 0


def measure(
    name: str,
    device: str = CPU,
    threads: int = 1,
    max_pass_tokens: int = 256,
    note: Callable[[str], None] = print,
    varies: bool = False,
) -> DeviceProfile:
    """The profile of a model as it runs here; `varies`: with quantiles of its passes. Raises BadInput, MachineCannot.

    What disturbs this machine meanwhile is in the quantiles too.
    """
    if max_pass_tokens < 1:
        raise BadInput(f"--max-pass-tokens {max_pass_tokens}: at least 1")
    prepare(device)
    with plain_words(device):
        return _measured(name, device, threads, max_pass_tokens, note, varies)


def _measured(
    name: str, device: str, threads: int, max_pass_tokens: int, note: Callable[[str], None], varies: bool
) -> DeviceProfile:
    loaded = load_model(name, device=device, threads=threads)
    limit = room_of(loaded.model.config)
    if limit is not None and CACHED + max_pass_tokens > limit:
        raise BadInput(f"--max-pass-tokens {max_pass_tokens}: {name} has {limit} positions; at most {limit - CACHED}")
    passes = passes_of(loaded.model)
    runtime = passes.runtime()
    knots: list[tuple[int, float]] = []
    factors: list[float] = []
    repeats = REPEATS_VARYING if varies else REPEATS
    for tokens in counts(max_pass_tokens):
        samples = _samples_ms(runtime, tokens, repeats)
        median = statistics.median(samples)
        factors += [one / median for one in samples]
        knots.append((tokens, round(median, 4)))
        note(f"{tokens} tokens: {knots[-1][1]} ms")
    source = f"testbed models profile: {len(factors)} passes of this machine, each over the median of its length"
    return DeviceProfile(
        name=f"{name} on this machine",
        device=described(device, threads),
        model=f"{name}, {loaded.parameters} parameters, fp32, weights {loaded.sha256[:12]}",
        kind="measured",
        source=f"testbed models profile: median of {repeats} passes after {CACHED} cached tokens",
        note=f"As a node program meets it, passes by {passes.described}: until the logits are in the machine's memory, "
        "batch of one.",
        pass_ms=tuple(knots),
        max_pass_tokens=max_pass_tokens,
        kv_bytes_per_token=_kv_bytes(loaded),
        varies=Variation(source=source, quantiles=quantiles(factors)) if varies else None,
    )


def quantiles(factors: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Of a sample, at the shares that a profile keeps; the ends are its least and its greatest."""
    found = np.quantile(np.array(factors), SHARES)
    return tuple((share, round(float(factor), 4)) for share, factor in zip(SHARES, found, strict=True))


def counts(most: int) -> list[int]:
    """Powers of two up to `most`, and `most` itself."""
    powers = [1 << power for power in range(most.bit_length())]
    return [*(one for one in powers if one < most), most]


def write(profile: DeviceProfile, path: Path) -> None:
    """As a file that `devices:` can name."""
    values: dict[str, Any] = profile.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    with replacing(path) as partial:
        partial.write_text(yaml.safe_dump(values, sort_keys=False, width=100))


def _samples_ms(runtime: Runtime, tokens: int, repeats: int) -> list[float]:
    feed = [1] * tokens
    runtime.forward(REQUEST, 0, [1] * CACHED)
    samples = [_ms(runtime, feed) for _ in range(WARM_UP + repeats)][WARM_UP:]
    runtime.release(REQUEST)
    return samples


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
