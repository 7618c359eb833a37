"""Greedy speculative decoding on one machine, said plainly: the loop every distributed policy must equal.

A round: the drafter proposes k tokens; the target reads them in one pass; drafts are accepted while they are the
target's own choice; the target's next choice (correction or bonus) ends the round.
Rule: the output is the target's greedy output, whatever the drafter says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from testbed.decoding.ids import within
from testbed.decoding.output import cut
from testbed.models.compute import Runtime


@dataclass(frozen=True)
class Speculated:
    """Tokens emitted, and the drafts accepted in every round."""

    tokens: tuple[int, ...]
    accepted: tuple[int, ...]


def speculate(
    target: Runtime,
    drafter: Runtime,
    request: int,
    prompt: Sequence[int],
    max_tokens: int,
    k: int,
    eos: Collection[int] = (),
) -> Speculated:
    """Decode up to `max_tokens` tokens after `prompt`, `k` drafts a round. Releases the request in both models."""
    text = list(prompt)
    end = len(text) + max_tokens
    accepted: list[int] = []
    drafter_knows = target_knows = 0  # leading tokens of `text` in each cache
    drafter.release(request)
    target.release(request)
    while len(text) < end:
        drafts = draft(drafter, request, drafter_knows, text, k)
        count, token = verify(target, request, target_knows, text, drafts)
        # The drafter never read its own last draft: after a fully accepted round it must catch up on two tokens.
        drafter_knows = len(text) + min(count, k - 1)
        target_knows = len(text) + count
        emitted = cut((*drafts[:count], token), count, end - len(text), eos)
        accepted.append(count)
        text += emitted.tokens
        if emitted.final:
            break
    drafter.release(request)
    target.release(request)
    return Speculated(tuple(text[len(prompt) :]), tuple(accepted))


def draft(drafter: Runtime, request: int, known: int, text: Sequence[int], k: int) -> list[int]:
    """The drafter's `k` greedy tokens after `text`, of which it has read the first `known`."""
    drafts: list[int] = []
    position, fed = known, list(text[known:])
    while len(drafts) < k:
        drafts.append(int(drafter.forward(request, position, fed)[0].argmax()))
        position, fed = position + len(fed), drafts[-1:]
    return drafts


def verify(target: Runtime, request: int, known: int, text: Sequence[int], drafts: Sequence[int]) -> tuple[int, int]:
    """How many drafts are the target's own greedy choice, and its choice after them; one pass."""
    fed = within([*text[known:], *drafts], len(drafts), target.rows)
    logits = target.forward(request, known, fed, last=len(drafts) + 1)
    choices: list[int] = logits.argmax(-1).tolist()
    count = 0
    while count < len(drafts) and drafts[count] == choices[count]:
        count += 1
    return count, choices[count]
