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


@dataclass(frozen=True)
class Beta:
    """A share with the Beta law, by its inverse distribution function."""

    alpha: float
    beta: float

    def __call__(self, uniform: float) -> float:
        from scipy.special import betaincinv

        return float(betaincinv(self.alpha, self.beta, uniform))


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
    choices: int = 2,
    later_match_rates: Sequence[float] = (),
    by_prompt: Beta | None = None,
) -> DecodeTable:
    """Independent outcomes. `match_rate` is one number, or one for each output position; `second_match_rate` is that of
    the drafter's second choice where the first is wrong, and `later_match_rates` are those of the third and on, each
    where none before it is right. With `by_prompt` each prompt draws its own rate in place of `match_rate`.

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
    if not 2 + len(later_match_rates) <= max(choices, 2):
        raise BadInput(f"{len(later_match_rates)} rates of third and further choices do not fit {choices} choices")
    # of their own, so that more choices, or rates by prompt, leave the other draws as they are
    random, further, mixing = Random(seed), Random(f"choices/{seed}"), Random(f"rates/{seed}")

    def draw(rate: float) -> Outcome:
        match = random.random() < rate
        second = random.random() < second_match_rate and not match
        target = (target_entropy.match if match else target_entropy.mismatch)(random.random())
        draft = (draft_entropy.match if match else draft_entropy.mismatch)(random.random())
        later = None if match or second else _place(later_match_rates, further)
        return outcome(match, second, target, draft, choices, later)

    def made(prompt: Ints) -> PromptTable:
        mine = rates if by_prompt is None else (by_prompt(mixing.random()),) * output_tokens
        mean_rate = sum(mine) / len(mine)
        drawn = [draw(rate) for rate in mine]
        return prompt_table(prompt, drawn, lambda: draw(mean_rate), random, depth, further=_more(choices, further))

    tables = {key: made(prompt) for key, prompt in prompts.items()}
    of_prompts = "" if by_prompt is None else f" by prompt from {by_prompt}"
    wider = "" if choices == 2 else f", {choices} choices, later ones {tuple(later_match_rates)}"
    note = (
        f"independent outcomes: match rate {of_prompts.strip() or match_rate}, second choice {second_match_rate}{wider}"
        f", target entropy {target_entropy}, draft entropy {draft_entropy}, seed {seed}"
    )
    return make_table(name, _made_up(depth, output_tokens, note), tables)


def resampled_table(recorded: DecodeTable, seed: int, name: str = "resampled") -> DecodeTable:
    """The recorded outcomes in random order over the same prompts and output lengths: the same totals, no sequence.

    After a wrong choice there is no outcome to deal; the drafter's numbers there are drawn from all outcomes alike.
    """
    random, further = Random(seed), Random(f"choices/{seed}")
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
            _more(len(outcomes[0].probabilities), further),
        )
        start = end
    note = f"outcomes of {recorded.name} ({recorded.sha256}) in random order, seed {seed}"
    return make_table(name, replace(recorded.provenance, synthetic=True, eos=None, note=note), tables)


def outcomes_of(table: DecodeTable) -> list[Outcome]:
    """A table's per-token records: a pool to draw from."""
    return [outcome for one in table.prompts.values() for outcome in _outcomes(one)]


def outcome(
    match: bool,
    second_match: bool,
    target_entropy: float,
    draft_entropy: float,
    choices: int = 2,
    later: int | None = None,
) -> Outcome:
    """A record of the values that decide what a policy does (entropies in nats).

    The drafter's largest probability is made exp(-entropy), the least it can be. The second of two choices has what is
    left; of more, each has half of what is left before it. None has more than the one before. Gap and logit variance
    are undefined.
    """
    chances = [math.exp(-draft_entropy)]
    left = 1.0 - chances[0]
    for _ in range(1, choices):
        chances.append(min(chances[-1], left if choices == 2 else left / 2))
        left -= chances[-1]
    return Outcome(match, second_match, target_entropy, math.nan, draft_entropy, tuple(chances), math.nan, later)


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
    if len({len(one.probabilities) for one in pool}) > 1:
        raise BadInput("records of one pool need as many probabilities as each other")
    random, further = Random(seed), Random(f"choices/{seed}")

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
            further=_more(len(pool[0].probabilities), further),
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
            later=next(
                (place for place in range(2, len(one.top_tokens[at])) if one.top_tokens[at][place] == token), None
            ),
        )
        for at, token in enumerate(one.tokens)
    ]


def _place(rates: Sequence[float], random: Random) -> int | None:
    """Which of the third and further choices is right, each where none before it is."""
    return next((place for place, rate in enumerate(rates, start=2) if random.random() < rate), None)


def _more(choices: int, further: Random) -> Random | None:
    return further if choices > 2 else None


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
