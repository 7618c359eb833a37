"""How fast virtual time goes here: bare kernel events, and emitted tokens of WANSpec with one user.

For `make bench`. A world is timed from its first event to its merged log; making the table and writing files are not.
Seconds are those of the processor, so that other load on a shared machine does not count: on an idle one, where this
one thread waits for nothing, they are the wall clock's.
"""

from __future__ import annotations

import time
from typing import Any

from testbed.decoding.sampling import Sampling
from testbed.experiment.policyentry import PolicyEntry
from testbed.models.devices import load_profile
from testbed.nodes.recorder import PhaseLog
from testbed.policies import registry
from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import World, WorldSpec
from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.tables.table import DecodeTable
from testbed.workload.planned import PlannedRequest

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
    start = time.process_time()
    kernel.run(until_ns=events // chains * 1_000)
    return kernel.events / (time.process_time() - start)


def emitted_tokens_per_second(policy: str = "wanspec", table: DecodeTable | None = None) -> float:
    """Output tokens of sequential requests, one a prompt (default: 50 made-up ones), per second."""
    return BenchPhase(policy, table or made_up_table()).timed()[1]


def made_up_table(prompts: int = 50) -> DecodeTable:
    """Independent matches, target more often unsure where the drafter is wrong."""
    entropies = ByOutcome(Exponential(0.3), Exponential(1.5))
    return iid_table(made_up_prompts(prompts, 32, 1), OUTPUT_TOKENS, MATCH_RATE, entropies, entropies, seed=1, depth=17)


class BenchPhase:
    """One policy, one user, the quickstart's links and devices; `requests` of the prompts in turn (default: each)."""

    def __init__(self, policy: str, table: DecodeTable, requests: int | None = None) -> None:
        prompts = list(table.prompts.items())
        self.table = table
        self.planned = []
        for index in range(requests or len(prompts)):
            prompt_id, one = prompts[index % len(prompts)]
            self.planned.append(PlannedRequest(index + 1, prompt_id, one.prompt, len(one.tokens), Sampling(), (), None))
        self.tokens = sum(one.max_tokens for one in self.planned)
        pairs = [(a, b) for a in NODES for b in NODES if a != b]
        self.spec = WorldSpec(
            nodes=NODES,
            links={(a, b): LinkSpec(LOCAL_MS if NODES[a][1] == NODES[b][1] else REMOTE_MS) for a, b in pairs},
            profiles={"target": load_profile("l40s/llama-3.1-8b"), "draft": load_profile("l40s/llama-3.2-1b")},
            seed=1,
            drain_ns=0,
        )
        params = registry.get(policy).params().model_dump(mode="json")
        self.entry = PolicyEntry(name=policy, label=policy, params=params)

    def timed(self) -> tuple[PhaseLog, float]:
        """Its log, and output tokens per second of this process."""
        world = World(self.spec, self.entry, 0, self.planned, self.table)
        start = time.process_time()
        log = world.run()
        return log, self.tokens / (time.process_time() - start)
