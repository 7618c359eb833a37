"""Which models each node of an emulated run loads, and which nodes share a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping

from testbed.experiment.scenario import Scenario
from testbed.nodes.sharing import shared_workers


def loads(scenario: Scenario) -> dict[str, dict[str, str]]:
    """By node: "target" and "draft" to the model whose answers it gives; empty for a node without models."""
    return {name: _of_role(scenario, role) for name, (role, _) in scenario.place.nodes().items()}


def processes(scenario: Scenario) -> dict[str, dict[str, str]]:
    """As `loads`, but only what a process runs: nothing where answers are recorded."""
    return {name: {} if scenario.compute.recorded else loaded for name, loaded in loads(scenario).items()}


def sharing(models: Mapping[str, Mapping[str, str]], in_containers: bool) -> list[list[str]]:
    """The nodes that each shared worker serves. A container has its own worker: what it was given is for it."""
    return [] if in_containers else shared_workers(models, len(os.sched_getaffinity(0)))


def _of_role(scenario: Scenario, role: str) -> dict[str, str]:
    """A target's node also gets the draft model: co-located speculation and WANSpec's local drafts run there."""
    models = scenario.models
    if role == "target":
        return {"target": models.target, "draft": models.draft}
    if role == "user":  # a policy may let users' own devices draft
        specs = [entry.spec for entry in scenario.policies]
        return {"draft": models.draft} if any("draft" in spec.models.get(role, ()) for spec in specs) else {}
    return {"draft": models.draft} if role == "drafter" else {}
