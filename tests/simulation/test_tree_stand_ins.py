"""What stands in for unrecorded tree contexts changes timing by little: the same virtual world with the real models.

Outputs are equal token for token; latency and draft passes are compared, because those are what a stand-in can move.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.models.compute import Compute
from testbed.models.load import load_model
from testbed.models.runtime import CausalRuntime
from testbed.simulation import world
from testbed.tables.table import DecodeTable, load_table
from tests.simulation.made_up import latencies_ms, rows

PROMPTS, TOKENS = 3, 40
POLICY = {"wanspec": {"branches": 2, "theta": None}}


class RealModels:
    """The pair itself, behind the interface of a replay: what a world asks for is computed, in no virtual time."""

    loaded: dict[str, Any] = {}  # once for all nodes

    def __init__(self, table: DecodeTable) -> None:
        for role, name in (("target", "tiny-target"), ("draft", "tiny-draft")):
            self.loaded.setdefault(role, load_model(name, threads=1).model)
        runtimes: dict[str, Any] = {role: CausalRuntime(model) for role, model in self.loaded.items()}
        self._compute = Compute(runtimes, {role: lambda tokens: [tokens] for role in runtimes})
        self.tree_lookups = self.approximated_lookups = 0

    def bind(self, request: int, prompt_id: str, sampling: Sampling) -> None:
        """Nothing to look up."""

    def release(self, request: int) -> None:
        self._compute.release(request)

    def __getattr__(self, kind: str) -> Any:
        run = getattr(self._compute, kind)
        return lambda job, duration_ms: replace(run(job)[0], duration_ms=duration_ms)


@pytest.mark.slow
@pytest.mark.parametrize("rtt_ms", [11.5, 68.0])
def test_replayed_trees_take_the_time_that_real_ones_take(rtt_ms: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulated() -> tuple[float, int, list[tuple[int, ...]]]:
        log = rows(
            load_table("tiny-prose"),
            POLICY,
            rtt_ms=rtt_ms,
            requests=PROMPTS,
            output_tokens=TOKENS,
            models={"target": "tiny-target", "draft": "tiny-draft"},
        )
        drafts = [step for step in log["steps"] if step.kind == "draft" and step.node == "target0"]
        return sum(latencies_ms(log)), len(drafts), [row.tokens for row in log["requests"]]

    replayed_ms, replayed_drafts, replayed = simulated()
    monkeypatch.setattr(world, "Replay", RealModels)
    real_ms, real_drafts, real = simulated()
    print(f"\nrtt {rtt_ms}: latency {replayed_ms / real_ms - 1:+.2%}, drafts here {replayed_drafts} for {real_drafts}")
    assert replayed == real
    assert replayed_ms == pytest.approx(real_ms, rel=0.03)
    assert replayed_drafts == pytest.approx(real_drafts, rel=0.08)
