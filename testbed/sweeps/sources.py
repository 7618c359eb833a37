"""What a sweep reads, each thing once a process: topologies, device profiles, prompts, hashes and decode tables."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cache

from testbed.experiment.scenario import Scenario
from testbed.simulation.inputs import Sources
from testbed.tables.outcomes import MadeUp
from testbed.tables.table import DecodeTable

MADE_UP_KEPT = 4  # tables made for one seed each; tens of megabytes each, and points come grouped by them


class CachedSources(Sources):
    """Lives as long as one process works on one sweep; files that change meanwhile are not noticed."""

    def __init__(self) -> None:
        read = Sources()
        # per object, not per class: two sweeps in one process share nothing
        self.topology = cache(read.topology)  # type: ignore[method-assign]
        self.prompts = cache(read.prompts)  # type: ignore[method-assign]
        self.table = cache(read.table)  # type: ignore[method-assign]
        self.provenance = cache(read.provenance)  # type: ignore[method-assign]
        self.series = cache(read.series)  # type: ignore[method-assign]
        self.weights = cache(read.weights)  # type: ignore[method-assign]
        self.profile = cache(read.profile)  # type: ignore[method-assign]
        self.load = cache(read.load)  # type: ignore[method-assign]
        self._made_up: OrderedDict[str, DecodeTable] = OrderedDict()

    def made_up(self, scenario: Scenario) -> DecodeTable:
        key = table_key(scenario)
        if key not in self._made_up:
            self._made_up[key] = super().made_up(scenario)
        self._made_up.move_to_end(key)
        while len(self._made_up) > MADE_UP_KEPT:
            self._made_up.popitem(last=False)
        return self._made_up[key]


def table_key(scenario: Scenario) -> str:
    """Equal for experiments that replay the same table."""
    resolved = scenario.resolved()
    workload = resolved["workload"]
    parts = {"models": resolved["models"], "prompts": workload["prompts"], "outcomes": resolved["outcomes"]}
    if isinstance(scenario.outcomes, MadeUp):
        parts |= {"seed": scenario.seed, "n": workload["requests"], "tokens": workload["output_tokens"]}
        parts |= {"load": workload.get("load")}
    return json.dumps(parts, sort_keys=True)
