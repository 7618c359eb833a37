"""Decode tables made up for tests: matches drawn at random, or none, or all; and a small experiment over them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario
from testbed.network.spec.topology import Topology, load_topology
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import SimulationInputs, by_id
from testbed.simulation.world import NO_OVERHEADS, Overheads
from testbed.tables.table import DecodeTable, PromptTable, Provenance, make_table

PROMPT_TOKENS = 16
DEPTH = 17
VOCABULARY = 1000
T_TARGET, T_DRAFT = 23.4, 7.5  # milliseconds, of the devices below
POLICIES = ("autoregressive", {"speculative": {"k": 2}}, {"wanspec": {"k": 2}})
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
    match: float, prompts: int = 4, output_tokens: int = 60, seed: int = 0, **provenance: Any
) -> DecodeTable:
    """Independent matches with probability `match` at every position."""
    draws = random.Random(f"match/{seed}/{match}")
    made = {}
    for number in range(prompts):
        hits = [draws.random() < match for _ in range(output_tokens)]
        made[f"p{number}"] = prompt_table(number, output_tokens, hits.__getitem__)
    facts: dict[str, Any] = {
        "target": "made-up",
        "draft": "made-up",
        "prompts": "made-up",
        "eos": None,
        "synthetic": True,
    } | provenance
    said = Provenance(depth=DEPTH, output_tokens=output_tokens, second_choice=False, **facts)
    return make_table("made-up", said, made)


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


def inputs_of(
    made: Scenario, table: DecodeTable, rtt_ms: float = 20.0, overheads: Overheads = NO_OVERHEADS
) -> SimulationInputs:
    """The sites `rtt_ms` apart, and nodes of one site 1 ms, or less if the sites are nearer."""
    far = {"near": {"far": rtt_ms}, "far": {"near": rtt_ms}}
    there = load_topology("two-sites").model_dump(by_alias=True)  # validated again: a copy would take any key
    topology = Topology.model_validate({**there, "rtt_ms": far, "intra_site_rtt_ms": min(1.0, rtt_ms)})
    prompts = by_id("made-up", list(table.prompts), table.sha256)
    changed = made.network.applied_to(topology)
    return SimulationInputs(resolve(made, topology=changed, prompts=prompts), table, overheads)


def rows(
    table: DecodeTable, *policies: object, rtt_ms: float = 20.0, overheads: Overheads = NO_OVERHEADS, **changes: object
) -> dict[str, Any]:
    """The log of one simulation over the whole table, by kind."""
    changed: Any = {"requests": len(table.prompts), "output_tokens": table.provenance.output_tokens, **changes}
    inputs = inputs_of(scenario(*policies, **changed), table, rtt_ms, overheads)
    return rows_of(inputs, simulate(inputs))


def latencies_ms(log: dict[str, list[Any]]) -> list[float]:
    return [(row.finished_ns - row.sent_ns) / 1e6 for row in log["requests"]]
