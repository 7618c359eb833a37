"""Synthetic decode tables from independent outcomes, to compare the i.i.d. assumption with recorded ones.

Whether the drafter agrees is drawn position by position, independently of all before: what WANSpec's simulator
assumes (arXiv 2602.18931). `iid_table` draws from stated distributions; `resampled_table` deals a recorded table's own
outcomes in random order, each once; `drawn_table` deals records from a pool to any number of prompts, without
replacement until the pool is empty, as that simulator does with its 1491.

Rule kept: one seed, one table, on every Python: of `random.Random` only `random()` is used, whose sequence is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from testbed.errors import BadInput
from testbed.tables.synthetic_prompt import Outcome, made_up, prompt_table
from testbed.tables.table import DecodeTable, Floats, Ints, PromptTable, Provenance, make_table

Draw = Callable[[float], float]  # a value from a number that is uniform in [0, 1)


@dataclass(frozen=True)
class Constant:
    """Always the same entropy."""

    nats: float

    def __call__(self, uniform: float) -> float:
        return self.nats


@dataclass(frozen=True)
class Exponential:
    """Mostly low, sometimes high: the usual shape of token entropies."""

    mean_nats: float

    def __call__(self, uniform: float) -> float:
        return -self.mean_nats * math.log1p(-uniform)


@dataclass(frozen=True)
class Empirical:
    """One of these entropies, each as likely."""

    nats: Floats

    def __call__(self, uniform: float) -> float:
        return self.nats[int(uniform * len(self.nats))]


class ByOutcome(NamedTuple):
    """Entropies (nats) where the drafter agrees with the target, and where it does not."""

    match: Draw
    mismatch: Draw


def made_up_prompts(count: int, tokens: int, seed: int) -> dict[str, Ints]:
    """Prompts of random token ids, named made-up-0 and on."""
    random = Random(seed)
    return {f"made-up-{number}": tuple(made_up(random) for _ in range(tokens)) for number in range(count)}


def iid_table(
    prompts: Mapping[str, Ints],
    output_tokens: int,
    match_rate: float | Sequence[float],
    target_entropy: ByOutcome,
    draft_entropy: ByOutcome,
    seed: int,
    depth: int,
    second_match_rate: float = 0.0,
    name: str = "iid",
) -> DecodeTable:
    """Independent outcomes. `match_rate` is one number, or one for each output position; `second_match_rate` is that of
    the drafter's second choice where the first is wrong.

    The drafter's largest probability is made exp(-entropy), the least it can be; gaps and logit variances are
    undefined (NaN).
    """
    rates = tuple(match_rate) if isinstance(match_rate, Sequence) else (float(match_rate),) * output_tokens
    if len(rates) != output_tokens:
        raise BadInput(
            f"{len(rates)} match rates for {output_tokens} output tokens: give one number, or one per position"
        )
    if not all(0.0 <= rate <= 1.0 for rate in (*rates, second_match_rate)):
        raise BadInput("a match rate is outside 0 to 1")
    if depth < 1 or output_tokens < 1:
        raise BadInput(f"depth {depth} and output_tokens {output_tokens}: both must be at least 1")
    random = Random(seed)

    def draw(rate: float) -> Outcome:
        match = random.random() < rate
        second = random.random() < second_match_rate and not match
        target = (target_entropy.match if match else target_entropy.mismatch)(random.random())
        draft = (draft_entropy.match if match else draft_entropy.mismatch)(random.random())
        return outcome(match, second, target, draft)

    mean_rate = sum(rates) / len(rates)
    tables = {
        key: prompt_table(prompt, [draw(rate) for rate in rates], lambda: draw(mean_rate), random, depth)
        for key, prompt in prompts.items()
    }
    note = (
        f"independent outcomes: match rate {match_rate}, second choice {second_match_rate}, target entropy "
        f"{target_entropy}, draft entropy {draft_entropy}, seed {seed}"
    )
    return make_table(name, _made_up(depth, output_tokens, note), tables)


def resampled_table(recorded: DecodeTable, seed: int, name: str = "resampled") -> DecodeTable:
    """The recorded outcomes in random order over the same prompts and output lengths: the same totals, no sequence.

    After a wrong choice there is no outcome to deal; the drafter's numbers there are drawn from all outcomes alike.
    """
    random = Random(seed)
    outcomes = outcomes_of(recorded)
    order = sorted(outcomes, key=lambda _: random.random())
    start = 0
    tables = {}
    for key, one in recorded.prompts.items():
        end = start + len(one.tokens)
        tables[key] = prompt_table(
            one.prompt,
            order[start:end],
            lambda: outcomes[int(random.random() * len(outcomes))],
            random,
            recorded.depth,
            recorded.provenance.second_choice,
        )
        start = end
    note = f"outcomes of {recorded.name} ({recorded.sha256}) in random order, seed {seed}"
    return make_table(name, replace(recorded.provenance, synthetic=True, eos=None, note=note), tables)


def outcomes_of(table: DecodeTable) -> list[Outcome]:
    """A table's per-token records: a pool to draw from."""
    return [outcome for one in table.prompts.values() for outcome in _outcomes(one)]


def outcome(match: bool, second_match: bool, target_entropy: float, draft_entropy: float) -> Outcome:
    """A record of the four values that decide what a policy does (entropies in nats).

    The drafter's largest probability is made exp(-entropy), the least it can be; gap and logit variance are undefined.
    """
    top = math.exp(-draft_entropy)
    return Outcome(match, second_match, target_entropy, math.nan, draft_entropy, (top, min(top, 1.0 - top)), math.nan)


def drawn_table(
    pool: Sequence[Outcome],
    prompts: Mapping[str, Ints],
    output_tokens: int,
    seed: int,
    depth: int,
    name: str = "drawn",
) -> DecodeTable:
    """Records drawn without replacement; an empty pool is filled again, in another order.

    After a wrong choice there is no record to deal; the drafter's numbers there are drawn from the whole pool.
    """
    if not pool or not prompts or depth < 1 or output_tokens < 1:
        raise BadInput(
            f"{len(pool)} records, {len(prompts)} prompts, {output_tokens} output tokens, depth {depth}: "
            "each must be at least 1"
        )
    if any(len(one.probabilities) < 2 or (one.match and one.second_match) for one in pool):
        raise BadInput("a record needs two probabilities, and its second choice cannot match where the first does")
    random = Random(seed)

    def deal() -> Iterator[Outcome]:
        while True:
            yield from sorted(pool, key=lambda _: random.random())

    dealer = deal()
    tables = {
        key: prompt_table(
            prompt,
            [next(dealer) for _ in range(output_tokens)],
            lambda: pool[int(random.random() * len(pool))],
            random,
            depth,
        )
        for key, prompt in prompts.items()
    }
    note = f"{len(pool)} records drawn without replacement, seed {seed}"
    return make_table(name, _made_up(depth, output_tokens, note), tables)


def _outcomes(one: PromptTable) -> list[Outcome]:
    return [
        Outcome(
            match=one.top_tokens[at][0] == token,
            second_match=one.top_tokens[at][1] == token,
            target_entropy=one.entropies[at],
            target_gap=one.top2_gaps[at],
            draft_entropy=one.rollout_entropies[at][0],
            probabilities=one.top_probabilities[at],
            logit_variance=one.logit_variances[at],
        )
        for at, token in enumerate(one.tokens)
    ]


def _made_up(depth: int, output_tokens: int, note: str) -> Provenance:
    return Provenance(
        target="made-up",
        draft="made-up",
        prompts="made-up",
        depth=depth,
        output_tokens=output_tokens,
        eos=None,
        synthetic=True,
        note=note,
    )
