"""How fast virtual time goes here: bare kernel events, and emitted tokens of a WANSpec world with one user.

For `make bench`. A world is timed from its first event to its merged log; making the table and writing files are not.
"""

from __future__ import annotations

import time
from typing import Any

from testbed.decoding.sampling import Sampling
from testbed.models.devices import load_profile
from testbed.models.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.models.tables import DecodeTable
from testbed.nodes.control import PlannedRequest
from testbed.policies import registry
from testbed.scenario import PolicyEntry
from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import World, WorldSpec

NODES = {"user0": ("user", "here"), "target0": ("target", "here"), "drafter0": ("drafter", "there")}
LOCAL_MS, REMOTE_MS = 0.5, 5.75  # one way: the quickstart's links
MATCH_RATE = 0.75  # of the WANSpec paper's pair
OUTPUT_TOKENS = 100


def kernel_events_per_second(events: int = 500_000, chains: int = 100) -> float:
    """`chains` callbacks that only schedule themselves again, one virtual microsecond on."""
    kernel = Kernel()

    def again(_: Any) -> None:
        kernel.at(kernel.now_ns + 1_000, again)

    for _ in range(chains):
        kernel.at(0, again)
    start = time.perf_counter()
    kernel.run(until_ns=events // chains * 1_000)
    return kernel.events / (time.perf_counter() - start)


def emitted_tokens_per_second(policy: str = "wanspec", table: DecodeTable | None = None) -> float:
    """Output tokens of sequential requests, one for each prompt of the table (default: 50 made-up ones), per second."""
    world, tokens = bench_world(policy, table or made_up_table())
    start = time.perf_counter()
    world.run()
    return tokens / (time.perf_counter() - start)


def made_up_table(prompts: int = 50) -> DecodeTable:
    """Independent matches, target more often unsure where the drafter is wrong."""
    entropies = ByOutcome(Exponential(0.3), Exponential(1.5))
    return iid_table(made_up_prompts(prompts, 32, 1), OUTPUT_TOKENS, MATCH_RATE, entropies, entropies, seed=1, depth=17)


def bench_world(policy: str, table: DecodeTable) -> tuple[World, int]:
    """A world that is ready to run, and how many tokens it will emit."""
    planned = [
        PlannedRequest(number, prompt_id, one.prompt, len(one.tokens), Sampling(), None, None)
        for number, (prompt_id, one) in enumerate(table.prompts.items(), start=1)
    ]
    spec = WorldSpec(
        nodes=NODES,
        links={
            (a, b): LinkSpec(LOCAL_MS if NODES[a][1] == NODES[b][1] else REMOTE_MS)
            for a in NODES
            for b in NODES
            if a != b
        },
        profiles={"target": load_profile("l40s/llama-3.1-8b"), "draft": load_profile("l40s/llama-3.2-1b")},
        seed=1,
        drain_ns=0,
    )
    entry = PolicyEntry(name=policy, label=policy, params=registry.get(policy).params().model_dump(mode="json"))
    return World(spec, entry, 0, planned, table), sum(one.max_tokens for one in planned)
