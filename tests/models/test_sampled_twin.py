"""Seeded coupling: a simulation from a sampled table says what the models say with the same seeds, under every policy.

The other side of the comparison is the same world with the models themselves behind its devices, so policies, times and
seeds are the run's own and only the answers' origin differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from testbed.cli.record import record_to_file
from testbed.experiment.requests import plan_requests
from testbed.experiment.scenario import Scenario
from testbed.models.compute import Compute
from testbed.models.load import load_model
from testbed.models.reference import target_only
from testbed.models.runtime import CausalRuntime
from testbed.nodes.recorder import PhaseLog
from testbed.policies.api import Draft, DraftReady, Verify, VerifyReady
from testbed.simulation.engine import Simulated, simulate
from testbed.simulation.inputs import SimulationInputs, from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.tables.replay import Replay
from testbed.tables.table import DecodeTable, SampledFrom

OUTPUT_TOKENS = 16
LAW = SampledFrom(temperature=0.8, top_p=0.95, seed=5, repeats=2)
POLICIES = ["autoregressive", {"speculative": {"k": 3}}, {"wanspec": {"k": 2}}]


class RealModels(Replay):
    """Both models in the table's place behind a device, with their own caches, as at a node of an emulated run."""

    def __init__(self, table: DecodeTable) -> None:
        super().__init__(table)
        names = {"target": "tiny-target", "draft": "tiny-draft"}
        runtimes: dict[str, Any] = {
            role: CausalRuntime(load_model(name, threads=1).model) for role, name in names.items()
        }
        self._compute = Compute(runtimes, dict.fromkeys(names, lambda tokens: [tokens]))

    def draft(self, job: Draft, duration_ms: float = 0.0) -> DraftReady:
        return replace(self._compute.draft(job)[0], duration_ms=duration_ms)

    def verify(self, job: Verify, duration_ms: float = 0.0) -> VerifyReady:
        return replace(self._compute.verify(job)[0], duration_ms=duration_ms)

    def release(self, request: int) -> None:
        self._compute.release(request)


@pytest.fixture
def inputs(tmp_path: Path) -> SimulationInputs:
    prompts = tmp_path / "two.jsonl"
    prompts.write_text('{"id": "a", "text": "The road through the forest"}\n{"id": "b", "text": "Toto ran"}\n')
    table = tmp_path / "sampled.parquet"
    record_to_file("tiny-target", "tiny-draft", str(prompts), OUTPUT_TOKENS, 17, table, sampling=LAW)
    scenario = Scenario.model_validate(
        {
            "name": "sampled",
            "topology": "two-sites",
            "workload": {
                "prompts": str(prompts), "requests": 2, "output_tokens": OUTPUT_TOKENS,
                "sampling": {"temperature": LAW.temperature, "top_p": LAW.top_p},
            },
            "models": {"target": "tiny-target", "draft": "tiny-draft"},
            "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
            "place": {"user": "near", "target": "near", "drafter": "far"},
            "policies": POLICIES,
            "repeats": LAW.repeats,
            "seed": LAW.seed,
        }
    )  # fmt: skip
    return from_scenario(scenario, str(table), NO_OVERHEADS, lambda text: None)


def with_real_models(inputs: SimulationInputs, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """The same simulation, its devices answering with the models."""
    with monkeypatch.context() as patch:
        patch.setattr("testbed.simulation.world.Replay", RealModels)
        return simulate(inputs)


def outputs(log: PhaseLog) -> dict[tuple[str, int, str], tuple[int, ...]]:
    return {(row.policy, row.repeat, row.prompt_id): row.tokens for row in log.requests}


@pytest.mark.slow
def test_a_sampled_simulation_emits_what_the_models_emit_with_the_same_seeds(
    inputs: SimulationInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed, real = simulate(inputs), with_real_models(inputs, monkeypatch)
    assert outputs(replayed.log) == outputs(real.log)
    assert len(outputs(real.log)) == len(POLICIES) * LAW.repeats * 2
    drafted = [(row.policy, row.drafts, row.accepted) for row in replayed.log.rounds]
    assert drafted == [(row.policy, row.drafts, row.accepted) for row in real.log.rounds]
    assert any(0 < accepted < drafts for _, drafts, accepted in drafted)
    passes = [(row.started_ns, row.finished_ns, row.kind) for row in replayed.log.steps]
    assert passes == [(row.started_ns, row.finished_ns, row.kind) for row in real.log.steps]


@pytest.mark.slow
def test_what_a_sampled_table_holds_is_target_only_decoding_of_each_request(inputs: SimulationInputs) -> None:
    """The yardstick is the one that emulated runs are compared with."""
    target = CausalRuntime(load_model("tiny-target", threads=1).model)
    streams = set()
    for repeat in range(LAW.repeats):
        for one in plan_requests(inputs.scenario, inputs.experiment.prompts, inputs.encode, (), 1, repeat):
            recorded = inputs.table.output(one.prompt_id, one.sampling)
            assert recorded is not None
            expected = target_only(target, one.prompt, OUTPUT_TOKENS, one.sampling).tokens
            assert recorded.tokens[:OUTPUT_TOKENS] == expected
            streams.add(expected)
    assert len(streams) == LAW.repeats * 2  # repeats draw anew
