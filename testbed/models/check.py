"""Check a target and drafter before trusting runs made with them: exactness, acceptance, speed, memory.

Rule: everything compared is measured in this process, in this call; nothing is remembered from another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.errors import BadInput
from testbed.models.agreement import Agreement, acceptance, judge, rejection_auc, tokens_per_round
from testbed.models.compute import Runtime
from testbed.models.fit import Fitness
from testbed.models.fitness import require_fit
from testbed.models.generation import not_applied
from testbed.models.guard import guard_of
from testbed.models.limits import Text
from testbed.models.load import LoadedModel, check_same_tokenizer, load_model
from testbed.models.lookup import LOOKUP, lookup_sha256
from testbed.models.passes import Passes, passes_of, passes_of_lookup
from testbed.models.reference import Reference, target_only
from testbed.models.runtime import CausalRuntime
from testbed.models.speculate import speculate
from testbed.models.speed import Rates, assisted, looked_up, pass_ms, rates, resident_mib
from testbed.workload.prompts import Prompt

CHECKED_K = (2, 4)
RATE_K = 4
REQUEST = 0


@dataclass(frozen=True)
class Mismatch:
    """Where speculation first left the greedy output, and the target's top-2 gap there: tiny means a near-tie."""

    prompt: int
    k: int
    position: int
    margin: float


@dataclass(frozen=True)
class _Drafter:
    """What drafts: `judged` says what it would have drafted, `passes` are those that runs take."""

    name: str
    sha256: str
    parameters: int
    judged: Runtime
    passes: Passes
    assist: Callable[[Sequence[int]], int] | None  # tokens that transformers decodes with it; None: it cannot


@dataclass(frozen=True)
class PairReport:
    """What `check_pair` found. Times are medians in milliseconds, memory in MiB, entropies in nats."""

    target: str
    draft: str
    target_sha256: str
    draft_sha256: str
    target_parameters: int
    draft_parameters: int  # 0: it drafts without a model (prompt-lookup)
    target_passes: str  # the path that runs take (`testbed.models.passes`), and why; speculation and times are by it
    draft_passes: str
    prompts: int
    tokens: int  # greedy tokens compared, for each k of CHECKED_K
    mismatches: tuple[Mismatch, ...]
    smallest_margin: float
    target_entropy: float
    draft_entropy: float
    acceptance: float  # share of all positions where the drafter's greedy token is the target's
    tokens_per_round: dict[int, float]  # by k; accepted drafts + the correction or bonus token
    rejection_auc: float | None  # how well the drafter's entropy tells rejected from accepted; None if all are alike
    ended_early: int  # prompts whose greedy output met the end of text
    target_pass_ms: dict[int, float]  # by tokens fed
    draft_pass_ms: dict[int, float]
    rates: Rates
    resident_mib: float
    wrong_in: tuple[str, ...]  # kinds of pass that a model cannot be used for, and why
    not_applied: str  # what the target's checkpoint would have done to its logits in generate()

    @property
    def lossless(self) -> bool:
        """Speculation gave the greedy output, token for token."""
        return not self.mismatches


def check_pair(
    target: str, draft: str, prompts: Sequence[Prompt], max_tokens: int = 64, threads: int | None = None
) -> PairReport:
    """Load the models in fp32 and measure them on the prompts; BadInput if they cannot be a pair."""
    if not prompts:
        raise BadInput("checking a pair needs at least one prompt")
    check_same_tokenizer(target, draft)
    big = load_model(target, threads=threads)
    small = None if draft == LOOKUP else load_model(draft, threads=threads)
    ids = [big.tokenizer(prompt.text)["input_ids"] for prompt in prompts]
    texts = [Text(prompt.id, one, len(one) + max_tokens) for prompt, one in zip(prompts, ids, strict=True)]
    loaded = {"target": big, **({} if small is None else {"draft": small})}
    fitness = require_fit({"target": target, "draft": draft}, {}, texts, loaded)
    return measure(big, small, ids, max_tokens, fitness)


def measure(
    big: LoadedModel, small: LoadedModel | None, prompts: Sequence[Sequence[int]], max_tokens: int, fitness: Fitness
) -> PairReport:
    """The report of two loaded models on encoded prompts; `small` None: the target with prompt lookup."""
    target = CausalRuntime(big.model, guard_of(big.model, fitness.of("target")))
    drafter = _looked_up(big, max_tokens, fitness) if small is None else _modelled(big, small, max_tokens, fitness)
    target_passes = passes_of(big.model, fitness=fitness.of("target"))
    quick_target, quick_drafter = target_passes.runtime(), drafter.passes.runtime()
    references = [target_only(target, prompt, max_tokens, eos=big.ends) for prompt in prompts]
    judged = [judge(drafter.judged, prompt, one) for prompt, one in zip(prompts, references, strict=True)]
    return PairReport(
        target=big.name,
        draft=drafter.name,
        target_sha256=big.sha256,
        draft_sha256=drafter.sha256,
        target_parameters=big.parameters,
        draft_parameters=drafter.parameters,
        target_passes=target_passes.described,
        draft_passes=drafter.passes.described,
        prompts=len(prompts),
        tokens=sum(len(one.tokens) for one in references),
        mismatches=_mismatches(quick_target, quick_drafter, prompts, references, big.ends),
        smallest_margin=min(min(one.gaps) for one in references),
        target_entropy=_mean([value for one in references for value in one.entropies]),
        draft_entropy=_mean([value for one in judged for value in one.drafter_entropies]),
        acceptance=acceptance(judged),
        tokens_per_round=_rounds(judged),
        rejection_auc=rejection_auc(judged),
        ended_early=sum(one.tokens[-1] in big.ends for one in references),
        target_pass_ms=pass_ms(quick_target, prompts[0]),
        draft_pass_ms=pass_ms(quick_drafter, prompts[0]),
        rates=rates(target, drafter.judged, prompts, max_tokens, RATE_K, big.ends, drafter.assist),
        resident_mib=resident_mib(),
        wrong_in=tuple(why for reasons in fitness.refused.values() for why in reasons.values()),
        not_applied=not_applied(big.model.generation_config),
    )


def _modelled(big: LoadedModel, small: LoadedModel, max_tokens: int, fitness: Fitness) -> _Drafter:
    fit = fitness.of("draft")
    judged = CausalRuntime(small.model, guard_of(small.model, fit))
    return _Drafter(
        small.name,
        small.sha256,
        small.parameters,
        judged,
        passes_of(small.model, fitness=fit),
        (lambda prompt: len(assisted(big.model, small.model, prompt, max_tokens, RATE_K)))
        if judged.rows == fitness.vocabularies.get("target")
        else None,
    )


def _looked_up(big: LoadedModel, max_tokens: int, fitness: Fitness) -> _Drafter:
    passes = passes_of_lookup(fitness.vocabularies)
    return _Drafter(
        LOOKUP,
        lookup_sha256(),
        0,
        passes.runtime(),
        passes,
        lambda prompt: len(looked_up(big.model, prompt, max_tokens, RATE_K)),
    )


def _mismatches(
    target: Runtime,
    drafter: Runtime,
    prompts: Sequence[Sequence[int]],
    references: Sequence[Reference],
    ends: Sequence[int],
) -> tuple[Mismatch, ...]:
    found = []
    for k in CHECKED_K:
        for index, (prompt, one) in enumerate(zip(prompts, references, strict=True)):
            tokens = speculate(target, drafter, REQUEST, prompt, len(one.tokens), k, ends).tokens
            if tokens != one.tokens:
                pairs = zip(tokens, one.tokens, strict=False)
                shorter = min(len(tokens), len(one.tokens)) - 1  # an end too soon has its own token wrong
                position = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), shorter)
                found.append(Mismatch(index, k, position, one.gaps[position]))
    return tuple(found)


def _rounds(judged: Sequence[Agreement]) -> dict[int, float]:
    return {k: tokens_per_round(judged, k) for k in range(1, 9)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
