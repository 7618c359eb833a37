"""Decode tables made up for tests: matches drawn at random, or none, or all; and a small experiment over them."""

from __future__ import annotations

import random
from collections.abc import Callable

from testbed.models.tables import DecodeTable, PromptTable, Provenance, make_table
from testbed.scenario import Scenario

PROMPT_TOKENS = 16
DEPTH = 17
VOCABULARY = 1000
JUNK = 10_000  # tokens no target here ever says


def prompt_table(number: int, output_tokens: int, matches: Callable[[int], bool]) -> PromptTable:
    """The drafter's first choice at position n is the target's token where `matches(n)`; else it is junk, and so on."""
    draws = random.Random(number)
    tokens = tuple(draws.randrange(VOCABULARY) for _ in range(output_tokens))
    entropies = tuple(draws.random() for _ in range(output_tokens))
    rollouts: list[tuple[int, ...]] = [tuple(JUNK + at for at in range(DEPTH))]
    for n in reversed(range(output_tokens)):
        if matches(n):
            rollouts.append((tokens[n], *rollouts[-1][:-1]))
        else:
            rollouts.append(tuple(JUNK + DEPTH * (n + 1) + at for at in range(DEPTH)))
    rollouts.reverse()
    states = output_tokens + 1
    return PromptTable(
        prompt=tuple(range(PROMPT_TOKENS)),
        tokens=tokens,
        entropies=entropies,
        top2_gaps=(1.0,) * output_tokens,
        top_tokens=tuple(one[:1] for one in rollouts),
        top_probabilities=((0.9,),) * states,
        margins=(0.8,) * states,
        logit_variances=(1.0,) * states,
        rollout_tokens=tuple(rollouts),
        rollout_entropies=((0.1,) * DEPTH,) * states,
        rollout_confidences=((0.9,) * DEPTH,) * states,
    )


def decode_table(
    match: float, prompts: int = 4, output_tokens: int = 60, seed: int = 0, eos: int | None = None
) -> DecodeTable:
    """Independent matches with probability `match` at every position."""
    draws = random.Random(f"match/{seed}/{match}")
    made = {}
    for number in range(prompts):
        hits = [draws.random() < match for _ in range(output_tokens)]
        made[f"p{number}"] = prompt_table(number, output_tokens, hits.__getitem__)
    provenance = Provenance(
        target="made-up", draft="made-up", prompts="made-up", depth=DEPTH, output_tokens=output_tokens, eos=eos,
        second_choice=False, synthetic=True,
    )  # fmt: skip
    return make_table("made-up", provenance, made)


def scenario(*policies: object, requests: int = 4, output_tokens: int = 60, **changes: object) -> Scenario:
    """The devices of the quickstart on two sites 20 ms apart, unless `changes` say otherwise."""
    return Scenario.model_validate(
        {
            "name": "made-up",
            "topology": "two-sites",
            "workload": {"prompts": "made-up", "requests": requests, "output_tokens": output_tokens},
            "models": {"target": "made-up", "draft": "made-up"},
            "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
            "place": {"user": "near", "target": "near", "drafter": "far"},
            "policies": list(policies),
            "seed": 3,
            **changes,
        }
    )
