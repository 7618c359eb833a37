"""Target-only decoding, one token per pass, no drafts and no network: the output every policy must reproduce.

The gap between the two best logits is kept for every token, because a gap near the arithmetic's error is the only
innocent explanation of a later mismatch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from testbed.decoding.processing import entropy_nats
from testbed.decoding.sampling import Sampling
from testbed.decoding.verify import choose
from testbed.models.compute import STREAM, Logits, Runtime, on_host

REQUEST = 0
GREEDY = Sampling()
# Between the two best logits. Logits of one position from a pass over many tokens and from a pass of its own differ by
# some 1e-5 in fp32, so a gap beyond this is the same choice in both; a test holds the difference to a tenth of it.
SURE_GAP = 1e-3
TOKENS_AT_ONCE = 256  # of a pass that only checks: memory grows with their square


class Reference(NamedTuple):
    """Tokens chosen, with the gap between the two best logits and the entropy (nats) at each."""

    tokens: tuple[int, ...]
    gaps: tuple[float, ...]
    entropies: tuple[float, ...]


def decode(
    runtime: Runtime,
    prompt: Sequence[int],
    max_tokens: int,
    sampling: Sampling = GREEDY,
    eos: Collection[int] = (),
    beyond_eos: int = 0,
) -> Iterator[tuple[int, Logits]]:
    """Up to `max_tokens` tokens after `prompt`, each with the logits that it was chosen from, greedily or by the
    request's own keyed draws. Ends `beyond_eos` tokens after the first that `eos` holds, and then forgets the request.
    """
    position, feed = 0, list(prompt)
    decoded, wanted, met = 0, max_tokens, False
    runtime.release(REQUEST)
    while decoded < wanted:
        logits = on_host(runtime.forward(REQUEST, position, feed))[0]
        position += len(feed)
        token = choose(logits, sampling, STREAM, position)
        yield token, logits
        decoded, feed = decoded + 1, [token]
        if token in eos and not met:
            met, wanted = True, min(wanted, decoded + beyond_eos)
    runtime.release(REQUEST)


def surely_target_only(
    runtime: Runtime, prompt: Sequence[int], tokens: Sequence[int], max_tokens: int, eos: Collection[int] = ()
) -> bool:
    """Whether `tokens` are the greedy output, found by feeding them: each is the target's choice after those before it.

    A hundred tokens cost a pass, not a hundred. False also where a choice is too close for this to tell it from one
    that is decoded token by token.
    """
    if not tokens or len(tokens) > max_tokens or any(token in eos for token in tokens[:-1]):
        return False
    if len(tokens) < max_tokens and tokens[-1] not in eos:
        return False
    fed = [*prompt, *tokens[:-1]]
    first = len(prompt) - 1  # of the positions whose logits choose a token
    runtime.release(REQUEST)
    try:
        for start in range(0, len(fed), TOKENS_AT_ONCE):
            part = fed[start : start + TOKENS_AT_ONCE]
            wanted = min(len(part), start + len(part) - first)
            logits = on_host(runtime.forward(REQUEST, start, part, max(1, wanted)))
            if wanted < 1:
                continue
            at = start + len(part) - wanted - first
            second, best = np.partition(logits, -2, axis=-1)[:, -2:].T
            same = np.argmax(logits, axis=-1) == np.asarray(tokens[at : at + wanted])
            if not np.all(same & (best - second > SURE_GAP)):
                return False
    finally:
        runtime.release(REQUEST)
    return True


def target_only(
    runtime: Runtime,
    prompt: Sequence[int],
    max_tokens: int,
    sampling: Sampling = GREEDY,
    eos: Collection[int] = (),
    beyond_eos: int = 0,
) -> Reference:
    """All that `decode` gives, and how sure the target was of each token."""
    tokens: list[int] = []
    gaps: list[float] = []
    entropies: list[float] = []
    for token, logits in decode(runtime, prompt, max_tokens, sampling, eos, beyond_eos):
        second, best = np.partition(logits, -2)[-2:]
        tokens.append(token)
        gaps.append(float(best - second))
        entropies.append(entropy_nats(logits))
    return Reference(tuple(tokens), tuple(gaps), tuple(entropies))
