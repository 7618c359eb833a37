"""How far a simulation is from its emulation: errors by hand, and an emulation that is the simulation itself."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from testbed.errors import BadInput
from testbed.experiment.progress import Silent
from testbed.experiment.scenario import Scenario
from testbed.results.store import RunDirectory, load
from testbed.simulation.calibrate import METRICS, P95, calibrate, compare, errors, render
from testbed.simulation.engine import Options, run
from testbed.simulation.testbed_overhead import measured_overheads
from testbed.simulation.world import Overheads
from testbed.workload.prompts import load_prompts
from tests.simulation.made_up import POLICIES, decode_table, scenario


def test_errors_by_hand():
    found = errors(np.array([10.0, 20.0, 0.0]), np.array([11.0, 18.0, 1.0]))
    assert found["mape"] == pytest.approx((10 + 10) / 2)  # the pair with an emulated 0 has no percentage
    assert found["bias"] == pytest.approx(100 * (10.0 - 10.0) / 10.0)
    assert found["n"] == 3 and found["correlation"] == pytest.approx(np.corrcoef([10, 20, 0], [11, 18, 1])[0, 1])


def test_the_sign_of_a_bias_is_that_of_the_simulation():
    assert errors(np.array([100.0, 100.0]), np.array([98.0, 98.0]))["bias"] == -2.0


def test_what_is_undefined_is_none():
    nothing = errors(np.array([]), np.array([]))
    assert nothing["n"] == 0 and {nothing[key] for key in ("mape", "bias", "correlation", "emulated")} == {None}
    zero = errors(np.zeros(3), np.zeros(3))
    assert zero["mape"] is zero["bias"] is zero["correlation"] is None


@pytest.fixture
def twin(tmp_path, without_page):
    """A simulated run that says it was emulated, and the table it came from."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": f"p{n}", "text": f"prompt {n}"}) + "\n" for n in range(4)))
    held = load_prompts(str(prompts))
    table = tmp_path / "made-up.parquet"
    decode_table(0.7, synthetic=False, prompts_sha256=held.sha256, eos=-1).write(table)
    workload = {"prompts": str(prompts), "requests": 4, "output_tokens": 60}
    place = {"user": {"near": 2}, "target": "near", "drafter": "far"}
    made = scenario(*POLICIES, workload=workload, place=place)
    outcome = run(made, Options(tmp_path / "runs", str(table)), Silent())
    directory = RunDirectory(outcome.directory)
    directory.write_manifest({**outcome.manifest, "engine": "emulation"})
    return directory, table


def test_a_run_calibrated_against_itself_is_exact(twin):
    directory, table = twin
    result = calibrate(directory.path, str(table))
    assert result["tokens_identical"] is True and result["different_outputs"] == []
    assert set(result["metrics"]) == {*METRICS, P95}
    for figures in (result["metrics"], *result["policies"].values()):
        for name, one in figures.items():
            assert one["mape"] in (0.0, None) and one["bias"] in (0.0, None), name
    assert result["policies"]["wanspec"]["tpot_ms"]["n"] == 4
    assert result["metrics"][P95]["n"] == 3  # one a policy
    json.dumps(result, allow_nan=False)
    render(result)


@pytest.mark.slow
def test_overheads_of_the_run_show_as_bias_and_are_explained_by_its_own_log(twin):
    """A run that was 0.234 ms slower after each job and 0.1 ms on each message: 1 % of an autoregressive token."""
    directory, table = twin
    slow = run_again(directory, table, Overheads(job_ms=0.234, message_ms=0.1))
    result = calibrate(slow, str(table))
    assert result["explained"]["overheads"] == {"job_ms": 0.234, "message_ms": 0.1}
    plain = result["policies"]["autoregressive"]["tpot_ms"]
    assert plain["bias"] == pytest.approx(-100 * 0.234 / 23.634, abs=1e-3)
    for figures in result["explained"]["policies"].values():
        assert figures["e2e_ms"]["bias"] == pytest.approx(0.0, abs=1e-6)


def test_the_gap_between_passes_of_a_batching_server_is_measured(twin):
    directory, table = twin
    slow = run_again(directory, table, Overheads(job_ms=0.5), policies=["centralised"])
    assert measured_overheads(load(slow)).job_ms == 0.5


def run_again(directory, table, overheads, **changes):
    """The same experiment with the overheads an emulation might have, said to be emulated."""
    manifest = directory.read_manifest()
    made = Scenario.model_validate({**manifest["scenario"], **changes})
    outcome = run(made, Options(directory.path.parent, str(table), overheads), Silent())
    RunDirectory(outcome.directory).write_manifest({**outcome.manifest, "engine": "emulation"})
    return outcome.directory


def test_one_other_token_is_found_and_placed(twin):
    directory, _ = twin
    emulated = load(directory.path)
    tokens: Any = list(emulated.requests["tokens"][5])
    tokens[7] += 1
    emulated.requests.at[5, "tokens"] = tokens
    result = compare(emulated, load(directory.path))
    assert result["tokens_identical"] is False
    (where,) = result["different_outputs"]
    row = emulated.requests.loc[5]
    assert (where["policy"], where["prompt"], where["output_position"]) == (row["policy"], row["prompt_id"], 7)


def test_a_request_that_only_one_side_answered_is_a_difference(twin):
    directory, _ = twin
    whole = load(directory.path)
    emulated = dataclasses.replace(whole, requests=whole.requests.drop(index=0))
    assert compare(emulated, whole)["tokens_identical"] is False


def test_a_simulated_run_is_not_calibrated(twin):
    directory, table = twin
    directory.write_manifest({**directory.read_manifest(), "engine": "simulation"})
    with pytest.raises(BadInput, match="emulat"):
        calibrate(directory.path, str(table))
