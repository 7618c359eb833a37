"""The first step of an emulated run: what it says, that the run does not see it, and that nothing stays of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.emulation.leftovers import lock_is_free, remains
from tests.run_examples import command, experiment, finished

pytestmark = [pytest.mark.shaped, pytest.mark.slow, pytest.mark.timeout(600)]  # of two runs

# A target faster than the clock can be held for.
IMPOSSIBLE = {
    "device": "none", "model": "none", "kind": "synthetic", "source": "made up", "pass_ms": [[1, 0.001], [4096, 0.002]],
}  # fmt: skip
SERIAL = ["autoregressive", "speculative"]  # policies whose passes follow from the tokens alone


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Path]]:
    """The same run with its plan and without."""
    folder = tmp_path_factory.mktemp("plan")
    path = experiment(folder)
    return {
        "planned": finished(path, folder / "planned", "--fabric", "relay"),
        "not planned": finished(path, folder / "not", "--fabric", "relay", "--no-plan"),
    }


def table(directory: Path, kind: str, *columns: str) -> list[tuple[Any, ...]]:
    frame = pd.read_parquet(directory / f"{kind}.parquet")
    return sorted(tuple(map(str, row)) for row in frame[list(columns)].to_numpy())


def test_a_run_does_not_see_its_pilot(runs: dict[str, tuple[dict[str, Any], Path]]) -> None:
    """The same requests with the same tokens, and where a policy's decisions follow from them the same passes."""
    (_, planned), (_, bare) = runs["planned"], runs["not planned"]
    asked = ("policy", "repeat", "node", "request", "prompt_id", "tokens")
    assert table(planned, "requests", *asked) == table(bare, "requests", *asked)
    for kind, columns in {
        "steps": ("policy", "node", "request", "job", "kind", "position", "tokens", "paced_ms", "batch"),
        "rounds": ("policy", "node", "request", "index", "position", "drafts", "accepted", "emitted"),
        "messages": ("policy", "request", "kind", "src", "dst", "tokens"),  # sizes hold times
    }.items():
        assert [row for row in table(planned, kind, *columns) if row[0] in SERIAL] == [
            row for row in table(bare, kind, *columns) if row[0] in SERIAL
        ]
    for kind in ("steps", "rounds", "messages"):
        assert set(pd.read_parquet(planned / f"{kind}.parquet")["request"]) <= set(range(1, 10)), "rows of a pilot"
    assert json.loads((planned / "manifest.json").read_text())["run_id"] == runs["not planned"][0]["run_id"]


def test_the_plan_stands_beside_what_came(runs: dict[str, tuple[dict[str, Any], Path]]) -> None:
    (summary, directory), (bare, bare_directory) = runs["planned"], runs["not planned"]
    plan = summary["plan"]
    assert plan["dilation"] == 1.0 and plan["durations"] == "simulated"
    assert plan["seen"]["wall_s"] == pytest.approx(sum(summary["timings"].values()), abs=0.1)
    assert plan["seen"]["valid"] == summary["validity"]["valid"]
    assert plan["wall_error"] == pytest.approx(plan["seen"]["wall_s"] / plan["wall_s"] - 1, abs=1e-3)
    assert 0 < plan["pilot_s"] <= summary["timings"]["plan"]
    facts = json.loads((directory / "manifest.json").read_text())["plan"]
    asked = {(one["policy"], one["node"], one["kind"]) for one in facts["needs"]}
    assert asked >= {("autoregressive", "target0", "verify"), ("wanspec", "drafter0", "draft")}
    assert all(one["most"] > 0 for one in facts["needs"])
    assert 0 < facts["machine"]["busy_cores"] <= facts["machine"]["cores"] + 0.5
    assert "<b>Plan:</b>" in (directory / "report.html").read_text()
    assert "plan" not in bare and "plan" not in bare["timings"]
    assert "plan" not in json.loads((bare_directory / "manifest.json").read_text())


def planned(path: Path, cwd: Path, *options: object) -> tuple[int, dict[str, Any], str]:
    process = command("plan", path, *options, "--fabric", "relay", "--json", cwd=cwd)
    try:
        said, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, json.loads(said), complaints


def test_a_plan_alone_leaves_nothing(tmp_path: Path) -> None:
    before, path = remains(), experiment(tmp_path)
    status, told, complaints = planned(path, tmp_path, "workload.requests=40")
    assert (status == 0) == told["valid"], complaints
    assert told["experiment"] == "small" and told["schema_version"] == 1
    assert 20 < told["requests_s"] < told["wall_s"] < 200
    assert remains() == before and lock_is_free()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_devices_faster_than_the_clock_are_refused_before_the_first_request(tmp_path: Path) -> None:
    before = remains()
    (tmp_path / "none.yaml").write_text(yaml.safe_dump(IMPOSSIBLE))
    devices = {"target": "none.yaml", "drafter": "l40s/llama-3.2-1b"}
    path = experiment(tmp_path, devices=devices)
    process = command("run", path, "--fabric", "relay", cwd=tmp_path)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 4, complaints
    assert "testbed: plan: " in complaints and "fix: slower devices" in complaints
    assert "autoregressive: 3 requests" not in complaints
    assert remains() == before and lock_is_free()
    process = command("plan", path, "--fabric", "relay", cwd=tmp_path)
    said, complaints = process.communicate(timeout=120)
    assert process.returncode == 4 and "fix: slower devices" in complaints, said
