"""`background:`: who shares which device, what they ask and when; and what it does to a run in both engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from testbed.errors import BadInput
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario
from testbed.nodes.capacity import limits_of
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import SimulationInputs, from_scenario
from testbed.simulation.world import NO_OVERHEADS
from tests.run_examples import SMALL, experiment, finished, workload

LOADED = {"near": {"load": "azure-2023-conv", "rate_scale": 0.05}}


def scenario(background: dict[str, Any], **changes: Any) -> Scenario:
    return Scenario.model_validate({**SMALL, "background": background, **changes})


def inputs(background: dict[str, Any], **changes: Any) -> SimulationInputs:
    return from_scenario(scenario(background, **changes), None, NO_OVERHEADS, lambda text: None)


def finished_ms(background: dict[str, Any], **changes: Any) -> dict[str, float]:
    """Mean time of a request by policy, simulated."""
    found = inputs(background, workload=workload(8, 40), **changes)
    rows = pd.DataFrame(
        [(row.policy, row.finished_ns - row.scheduled_ns) for row in rows_of(found, simulate(found))["requests"]],
        columns=["policy", "ns"],
    )
    return {str(policy): float(mean) / 1e6 for policy, mean in rows.groupby("policy")["ns"].mean().items()}


def test_a_busy_target_is_slower_and_a_busy_drafter_only_where_it_drafts() -> None:
    idle = finished_ms({})
    target = finished_ms(LOADED)
    drafter = finished_ms({"far": {"role": "drafter", "rate_per_s": 2.0}})
    assert all(target[policy] > 1.1 * idle[policy] for policy in idle)
    assert drafter["autoregressive"] == idle["autoregressive"] and drafter["speculative"] == idle["speculative"]
    assert drafter["wanspec"] > 1.05 * idle["wanspec"]


@pytest.mark.parametrize(
    "tenant",
    [
        {"rate_per_s": 1e6, "input_tokens": 1_000_000, "output_tokens": 1_000_000},
        {"rate_per_s": 1e-4, "surges": [{"start_s": 0, "length_s": 86_400, "rate_per_s": 1e6}]},
        {"by_hour": [1e6] * 24},
        {"by_hour": [0.0] * 23 + [1e-300]},
    ],
)
def test_the_fastest_and_the_slowest_tenant_are_loads(tenant: dict[str, Any]) -> None:
    """The bounds of its keys lie within those of the profile that is made of it."""
    assert resolve(scenario({"near": tenant})).background(0)["target0"].tenants[0].profile


def test_one_seed_one_run_and_policies_meet_the_same_tenants() -> None:
    assert finished_ms(LOADED) == finished_ms(LOADED) != finished_ms(LOADED, seed=2)
    one = resolve(scenario(LOADED))
    assert one.background(0) == one.background(0) != one.background(1)


def test_a_load_goes_by_hour_and_local_time() -> None:
    hours = [0.0] * 12 + [5.0] * 12
    noon = {"near": {"by_hour": hours, "from_s": 12 * 3600}}
    assert finished_ms(noon)["autoregressive"] > 1.2 * finished_ms({})["autoregressive"]
    assert finished_ms({"near": {"by_hour": hours}}) == finished_ms({}), "nobody is up at midnight"
    assert finished_ms({"near": {"by_hour": hours, "local_time": 12}}) == finished_ms(noon)


def test_surges_come_when_they_are_said_to() -> None:
    found = resolve(
        scenario({"near": {"rate_per_s": 0.001, "surges": [{"start_s": 100, "length_s": 10, "rate_per_s": 50}]}})
    ).background(0)["target0"]
    times = []
    for at_ns, *_ in found.requests():
        if at_ns > 1000e9:
            break
        times.append(at_ns / 1e9)
    inside = [at_s for at_s in times if 100 <= at_s < 110]
    assert len(inside) == pytest.approx(500, rel=0.2) and len(times) - len(inside) < 10


def test_tenants_at_one_site_add_up_and_devices_of_one_role_share_them() -> None:
    both = {"near": [{"rate_per_s": 1.0}, {"rate_per_s": 2.0, "input_tokens": 7}]}
    found = resolve(scenario(both)).background(0)
    assert len(found["target0"].tenants) == 2 and found["target0"].max_batch == 512
    place = {"user": "near", "target": "near", "drafter": {"far": 2}}
    shared = resolve(scenario({"far": {"role": "drafter", "rate_per_s": 4.0}}, place=place)).background(0)
    assert shared.keys() == {"drafter0", "drafter1"}
    assert [one.tenants[0].rate_scale for one in shared.values()] == [0.5, 0.5]
    assert shared["drafter0"].tenants[0].seed != shared["drafter1"].tenants[0].seed


def test_memory_that_tenants_hold_is_not_ours() -> None:
    devices = {"target": "a100-80gb/qwen3-32b", "drafter": "l40s/llama-3.2-1b"}
    found = resolve(scenario({"near": {"rate_per_s": 1.0, "kv_share": 0.25}}, devices=devices))
    whole = found.devices["target"].kv_capacity_tokens
    assert whole is not None
    ours = limits_of(found.devices["target"], found.background(0)["target0"]).kv_capacity_tokens
    assert ours == whole - int(0.25 * whole)


def test_the_run_says_whose_load_it_was_and_keeps_its_id_without() -> None:
    one = resolve(scenario(LOADED))
    assert one.facts()["tenants"][0]["source"]["licence"] == "CC BY 4.0"
    assert one.run_id({}) != resolve(scenario({"near": {"load": "azure-2023-code", "rate_scale": 0.05}})).run_id({})
    assert "background" not in scenario({}).resolved()


REFUSED: dict[str, dict[str, Any]] = {
    "background: no target is at 'far'": {"far": {"rate_per_s": 1.0}},
    "background: no drafter is at 'near'.* sites of drafters: far": {"near": {"role": "drafter", "rate_per_s": 1.0}},
    "a tenant has one of load, rate_per_s and by_hour": {"near": {}},
    "surges change a rate_per_s": {
        "near": {"load": "burstgpt", "surges": [{"start_s": 0, "length_s": 1, "rate_per_s": 1}]}
    },
    "change a load": {"near": {"rate_per_s": 1.0, "token_scale": 2.0}},
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_what_would_have_no_effect_is_refused(complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        scenario(REFUSED[complaint])


def test_loads_that_are_not_there_and_native_devices_are_refused() -> None:
    with pytest.raises(BadInput, match="load 'azure-2022' is not in workloads/load/; did you mean"):
        resolve(scenario({"near": {"load": "azure-2022"}}))
    with pytest.raises(BadInput, match=r"devices.target is native"):
        resolve(scenario({"near": {"rate_per_s": 1.0}}, devices={}))


@pytest.mark.shaped
@pytest.mark.slow
def test_both_engines_share_the_device_alike(tmp_path: Path) -> None:
    """Real models beside tenants that compute nothing: outputs stay, waits are those of the simulation."""
    place = {"user": "near", "target": "near"}
    path = experiment(
        tmp_path,
        workload=workload(4, 40),
        background={"near": {"rate_per_s": 1.5, "input_tokens": 400, "output_tokens": 60}},
        policies=["autoregressive", {"speculative": {"k": 2}}],
        place=place,
    )
    summary, run = finished(path, tmp_path / "real", "--fabric", "relay", "--nodes", "process")
    assert summary["lossless"]["checked"] == summary["lossless"]["equal"] == 8
    virtual, _ = finished(path, tmp_path / "virtual", "--engine", "simulation")
    alone, _ = finished(
        experiment(tmp_path, workload=workload(4, 40), policies=["autoregressive"], place=place),
        tmp_path / "alone", "--engine", "simulation",
    )  # fmt: skip
    for policy in ("autoregressive", "speculative"):
        real, simulated = (one["policies"][policy]["e2e_ms"]["median"] for one in (summary, virtual))
        assert real == pytest.approx(simulated, rel=0.1)
    assert (
        summary["policies"]["autoregressive"]["e2e_ms"]["median"]
        > 1.2 * alone["policies"]["autoregressive"]["e2e_ms"]["median"]
    )
    assert "background" in json.loads((run / "manifest.json").read_text())["scenario"]
