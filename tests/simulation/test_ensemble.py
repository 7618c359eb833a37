"""Emulated repeats against an ensemble of simulations: runs whose overhead is known pass or fail as they must."""

import dataclasses
import json
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.experiment.progress import Silent
from testbed.results.store import RunDirectory, frame_of, load
from testbed.simulation.engine import Options, rows_of, run, simulate
from testbed.simulation.ensemble import EnsembleOptions, compared, render
from testbed.simulation.inputs import from_manifest
from testbed.simulation.world import NO_OVERHEADS
from testbed.workload.prompts import load_prompts
from tests.simulation.made_up import decode_table, scenario

FEW = EnsembleOptions(members=6, margin=0.03, jitter_ms=0.3)


@pytest.fixture
def emulated(tmp_path, without_page):
    """A function: three repeats with this overhead a job, as a run that says it was emulated."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": f"p{n}", "text": f"prompt {n}"}) + "\n" for n in range(3)))
    table = tmp_path / "made-up.parquet"
    decode_table(0.7, prompts=3, output_tokens=30, synthetic=False, eos=-1,
                 prompts_sha256=load_prompts(str(prompts)).sha256).write(table)  # fmt: skip

    def made(job_ms, repeats=3):
        workload = {"prompts": str(prompts), "requests": 3, "output_tokens": 30}
        asked = scenario("autoregressive", {"speculative": {"k": 2}}, workload=workload, repeats=repeats)
        outcome = run(asked, Options(tmp_path / f"runs-{job_ms}-{repeats}", str(table)), Silent())
        RunDirectory(outcome.directory).write_manifest({**outcome.manifest, "engine": "emulation"})
        read = load(outcome.directory)
        inputs = from_manifest(read.manifest, ["p0", "p1", "p2"], str(table), NO_OVERHEADS)
        slow = dataclasses.replace(inputs, overheads=dataclasses.replace(NO_OVERHEADS, job_ms=job_ms))
        frames: dict[str, Any] = {kind: frame_of(kind, rows) for kind, rows in rows_of(slow, simulate(slow)).items()}
        return dataclasses.replace(read, **frames), str(table)

    return made


@pytest.mark.slow
def test_repeats_within_the_ensemble_are_equal_and_slower_ones_are_not(emulated):
    near, table = emulated(0.15)
    found = compared([near], FEW, table)
    assert set(found) == {"autoregressive", "speculative"}
    for metrics in found.values():
        assert metrics["tpot_ms"]["equal"] is True and metrics["tpot_ms"]["n"] == (3, 6)
        assert metrics["tpot_ms"]["ratio"] == pytest.approx(1.0, abs=0.005)
    slow, table = emulated(2.0)  # of 23.4 ms a pass: 8 % more
    judged = compared([slow], FEW, table)["autoregressive"]["tpot_ms"]
    assert judged["equal"] is False and judged["ratio"] == pytest.approx(1.08, abs=0.02) and judged["p"] > 0.9
    render(found, FEW)


@pytest.mark.slow
def test_one_repeat_shows_nothing_and_two_runs_of_one_repeat_are_two(emulated):
    one, table = emulated(0.1, repeats=1)
    alone = compared([one], FEW, table)["autoregressive"]["tpot_ms"]
    assert alone["equal"] is None and "at least 2 repeats" in alone["why"]
    twice = compared([one, one], FEW, table)["autoregressive"]["tpot_ms"]
    assert twice["equal"] is True and twice["n"] == (2, 6)
    other = dataclasses.replace(
        one, manifest={**one.manifest, "scenario": {**one.manifest["scenario"], "policies": []}}
    )
    with pytest.raises(BadInput, match="repeats of one experiment"):
        compared([one, other], FEW, table)
