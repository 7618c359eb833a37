"""Which drafts the target keeps, and what it emits in their place: the exact rules, one row per position.

Rule kept: what is emitted has the target's own law, whatever was drafted. Three verifications keep it.

* Greedy: accept while the draft is the target's largest logit.
* Coupled, for drafts that were not drawn at random: the target draws its own token with the position's own random
  number; a draft is accepted if it is that token. The law is that of rejection against a one-hot row, and moreover the
  output is that of target-only decoding with the same seed, token for token.
* Rejection, for drafts drawn from rows that came with them: accept with min(1, p/q), else draw from the positive part
  of p - q; a bonus token from p after full acceptance.

No torch here: logits arrive as numpy rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from testbed.decoding.processing import draw, entropy_nats, keep_largest, probabilities, sureness
from testbed.decoding.rng import uniform
from testbed.decoding.rows import SparseRow
from testbed.decoding.sampling import Sampling


class Verdict(msgspec.Struct, frozen=True):
    """`tokens` are the accepted drafts, then one correction or bonus token."""

    accepted: int
    tokens: tuple[int, ...]
    entropies: tuple[float, ...] = ()  # nats, of the target at each of `tokens`
    fallbacks: int = 0  # residuals that were zero in floating point, drawn from p instead


class DraftChoice(NamedTuple):
    """One drafted token; `row` is what it was drawn from, None when it was not drawn."""

    token: int
    entropy: float  # nats
    confidence: float
    row: SparseRow | None = None


def verify_greedy(choices: Sequence[int], drafts: Sequence[int]) -> Verdict:
    """`choices` are the target's own tokens at the drafts' positions and at the one after them."""
    if len(choices) != len(drafts) + 1:
        raise ValueError(f"{len(drafts)} drafts need {len(drafts) + 1} target choices, got {len(choices)}")
    accepted = 0
    while accepted < len(drafts) and drafts[accepted] == choices[accepted]:
        accepted += 1
    return Verdict(accepted, tuple(choices[: accepted + 1]))


def verify_sampled(
    p_rows: Sequence[np.ndarray],
    q_rows: Sequence[np.ndarray],
    drafts: Sequence[int],
    uniforms: Sequence[tuple[Any, Any]],
) -> Verdict:
    """Exact rejection. `uniforms` holds, per position, the number that accepts and the number that draws on rejection.

    Rows are double, or object rows of exact fractions. The last of `p_rows` and `uniforms` is the bonus position's.
    """
    if not len(p_rows) == len(uniforms) == len(q_rows) + 1 == len(drafts) + 1:
        raise ValueError(
            f"{len(drafts)} drafts with {len(q_rows)} draft rows, {len(p_rows)} target rows, {len(uniforms)} draws"
        )
    for index, draft in enumerate(drafts):
        p, q = p_rows[index], q_rows[index]
        if not q[draft] > 0:
            raise ValueError(f"draft {index} (token {draft}) has probability 0 in the row it is said to be drawn from")
        accept, emit = uniforms[index]
        if accept * q[draft] < p[draft]:
            continue
        residual = np.maximum(p - q, 0)
        empty = not residual.sum() > 0
        return Verdict(index, (*drafts[:index], draw(p if empty else residual, emit)), fallbacks=int(empty))
    return Verdict(len(drafts), (*drafts, draw(p_rows[-1], uniforms[-1][1])))


def verify(
    logits: np.ndarray,
    drafts: Sequence[int],
    sampling: Sampling,
    request: int,
    position: int,
    rows: Sequence[SparseRow] = (),
) -> Verdict:
    """One target pass judged. `logits` is [drafts + 1, vocabulary]; `position` is that of the first draft."""
    if rows and not sampling.greedy:
        verdict = _verify_rejection(logits, drafts, sampling, request, position, rows)
    else:
        choices = [choose(row, sampling, request, position + index) for index, row in enumerate(logits)]
        verdict = verify_greedy(choices, drafts)
    entropies = tuple(entropy_nats(logits[index]) for index in range(len(verdict.tokens)))
    return msgspec.structs.replace(verdict, entropies=entropies)


def choose(logits: np.ndarray, sampling: Sampling, request: int, position: int) -> int:
    """The target's own token at `position`: target-only decoding, and the yardstick of coupled verification."""
    if sampling.greedy:
        return int(logits.argmax())
    return draw(probabilities(logits, sampling), uniform(sampling.seed, request, position, "target"))


def draft_choice(
    logits: np.ndarray, sampled: bool, top_q: int, sampling: Sampling, request: int, position: int
) -> DraftChoice:
    """The drafter's token at `position`: its largest logit, or drawn from its `top_q` most probable tokens (0: all)."""
    entropy, top = sureness(logits)
    if not sampled:
        return DraftChoice(int(logits.argmax()), entropy, top)
    dense = probabilities(logits, sampling)
    if top_q > 0:
        dense = keep_largest(dense, top_q)
    support = np.flatnonzero(dense)
    row = SparseRow(tuple(support.tolist()), tuple(dense[support].tolist()))
    pick = draw(dense[support], uniform(sampling.seed, request, position, "draft"))
    return DraftChoice(row.tokens[pick], entropy, top, row)


def _verify_rejection(
    logits: np.ndarray,
    drafts: Sequence[int],
    sampling: Sampling,
    request: int,
    position: int,
    rows: Sequence[SparseRow],
) -> Verdict:
    seed = sampling.seed
    draws = [
        (uniform(seed, request, position + index, "accept"), uniform(seed, request, position + index, "residual"))
        for index in range(len(drafts))
    ]
    # The bonus token is the target's own: the same draw as target-only decoding.
    draws.append((0.0, uniform(seed, request, position + len(drafts), "target")))
    # a drafter may know more tokens than the target, for which those have probability 0
    width = max(logits.shape[1], *(1 + max(row.tokens) for row in rows))
    return verify_sampled(
        [np.pad(probabilities(row, sampling), (0, width - len(row))) for row in logits],
        [row.dense(width) for row in rows],
        drafts,
        draws,
    )
