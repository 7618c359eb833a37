"""How far a simulation is from the emulated run it repeats: same scenario, same requests, one number per metric.

Rule kept: requests are paired by (policy, repeat, prompt) and each pair's two values come from the same metric of the
registry. Undefined is None, never 0. Identical token streams are a hard check: without them times compare nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from testbed.errors import BadInput
from testbed.results.metrics import REGISTRY, PolicyLog, policy_logs
from testbed.results.metrics.base import RatioMetric, SampleMetric, rounded
from testbed.results.store import RunData, frame_of, load, using
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import SimulationInputs, from_manifest
from testbed.simulation.testbed_overhead import measured_overheads
from testbed.simulation.world import NO_OVERHEADS

METRICS = ("tpot_ms", "ttft_ms", "e2e_ms", "tokens_per_round", "target_site_draft_passes")
P95 = "e2e_p95_ms"
PERCENT = 100.0


def calibrate(run_dir: Path, table: str | None = None) -> dict[str, Any]:
    """Simulates the emulated run again from its own manifest and compares. Raises BadInput.

    `metrics` and `policies` are of the plain simulation. `explained` has the same figures of a second one, which adds
    the overheads that the run's own log shows: what is left there is neither policy, nor link, nor testbed.
    """
    with using(run_dir):
        return _calibrated(run_dir, table)


def _calibrated(run_dir: Path, table: str | None) -> dict[str, Any]:
    emulated = load(run_dir)
    if emulated.manifest.get("engine") != "emulation":
        raise BadInput(f"{run_dir}: not an emulated run; calibrate compares an emulated run with its simulation")
    inputs = from_manifest(emulated.manifest, prompt_ids(emulated), table, NO_OVERHEADS)
    overheads = measured_overheads(emulated)
    explained = compare(emulated, simulated(dataclasses.replace(inputs, overheads=overheads), emulated))
    return {
        "run_id": emulated.manifest["run_id"],
        "experiment": emulated.manifest["experiment"],
        "table": {"name": inputs.table.name, "sha256": inputs.table.sha256},
        **compare(emulated, simulated(inputs, emulated)),
        "explained": {
            "overheads": dataclasses.asdict(overheads),
            **{key: explained[key] for key in ("metrics", "policies")},
        },
    }


def simulated(inputs: SimulationInputs, emulated: RunData) -> RunData:
    frames = {kind: frame_of(kind, rows) for kind, rows in rows_of(inputs, simulate(inputs)).items()}
    return RunData(manifest=emulated.manifest, **frames)


def compare(emulated: RunData, simulated: RunData) -> dict[str, Any]:
    """All figures for two logs of one scenario. Percentages are of the emulated value."""
    differing = _different_outputs(emulated, simulated)
    values = paired(emulated, simulated)
    labels = [entry["label"] for entry in emulated.manifest["policies"]]
    return {
        "tokens_identical": not differing and not values.empty,
        "different_outputs": differing,
        "metrics": _figures(values, labels),
        "policies": {label: _figures(values[values["policy"] == label], [label]) for label in labels},
    }


def paired(emulated: RunData, simulated: RunData) -> pd.DataFrame:
    """One row per metric and request: policy, repeat, prompt, turn, metric, emulated, simulated.

    Turn n is the n-th request with its prompt: users in a closed loop ask the same again.
    """
    both = _values(emulated).merge(
        _values(simulated), on=["policy", "repeat", "prompt", "turn", "metric"], suffixes=("_emulated", "_simulated")
    )
    return both.rename(columns={"value_emulated": "emulated", "value_simulated": "simulated"})


def prompt_ids(run: RunData) -> list[str]:
    """The prompts in the order in which the run issued them, the same in each of its phases."""
    requests = run.requests.sort_values("request")
    return [str(prompt) for prompt in dict.fromkeys(requests["prompt_id"])]


def render(result: Mapping[str, Any]) -> Any:
    """The table of `testbed calibrate`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    overheads = result["explained"]["overheads"]
    table = Table(
        title=f"simulation against emulation, run {result['run_id']}: tokens "
        + ("identical" if result["tokens_identical"] else "DIFFER"),
        title_justify="left",
        caption="percent of the emulated value; bias: difference of the means; MAPE: mean over requests\n"
        f"expl.: including the run's measured overheads of {overheads['job_ms']:.3f} ms per job and "
        f"{overheads['message_ms']:.3f} ms per message",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0, 0, 1),  # fits 80 columns
    )
    table.add_column("policy\n metric")
    for heading in ("emulated", "simulated", "bias\n%", "MAPE\n%", "corr.", "bias\n%\nexpl.", "n"):
        table.add_column(heading, justify="right")
    explained = result["explained"]
    sections = [("all", result["metrics"], explained["metrics"])]
    sections += [(label, metrics, explained["policies"][label]) for label, metrics in result["policies"].items()]
    for label, metrics, with_overheads in sections:
        table.add_row(Text(label, style="bold"))
        for name, one in metrics.items():
            figures = [one[key] for key in ("emulated", "simulated", "bias", "mape")]
            cells = [_cell(figure, 2) for figure in figures] + [_cell(one["correlation"], 3)]
            table.add_row(f" {name}", *cells, _cell(with_overheads[name]["bias"], 2), str(one["n"]))
    return table


def _cell(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _values(run: RunData) -> pd.DataFrame:
    rows = []
    for label, log in policy_logs(run).items():
        prompts = log.requests["prompt_id"].to_dict()
        for name in METRICS:
            for key, value in _per_request(name, log).items():
                if not math.isnan(value):
                    rows.append((label, *key, prompts[key], name, value))  # type: ignore[misc]
    values = pd.DataFrame(rows, columns=["policy", "repeat", "request", "prompt", "metric", "value"])
    same = values.sort_values("request", kind="stable").groupby(["policy", "repeat", "prompt", "metric"])
    return values.assign(turn=same.cumcount()).drop(columns="request")


def _per_request(name: str, log: PolicyLog) -> pd.Series[Any]:
    """A metric's value for each request, whatever the metric's shape."""
    metric = REGISTRY[name]
    if isinstance(metric, SampleMetric):
        samples = metric.samples(log)
        return pd.Series(dtype=float) if samples is None else samples.astype(float)
    assert isinstance(metric, RatioMetric)
    parts = metric.parts(log)
    return pd.Series(dtype=float) if parts is None else (parts["over"] / parts["under"]).astype(float)


def _figures(values: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    figures = {}
    for name in METRICS:
        of_metric = values[values["metric"] == name]
        figures[name] = errors(of_metric["emulated"].to_numpy(float), of_metric["simulated"].to_numpy(float))
    figures[P95] = _p95(values[values["metric"] == "e2e_ms"], labels)
    return figures


def errors(emulated: np.ndarray[Any, Any], simulated: np.ndarray[Any, Any]) -> dict[str, Any]:
    """MAPE over the pairs whose emulated value is not 0, bias of the means, Pearson's correlation; n is all pairs."""
    if not len(emulated):
        return {"emulated": None, "simulated": None, "mape": None, "bias": None, "correlation": None, "n": 0}
    defined = emulated != 0
    relative = np.abs(simulated[defined] - emulated[defined]) / np.abs(emulated[defined])
    means = float(emulated.mean()), float(simulated.mean())
    varies = len(emulated) > 1 and np.ptp(emulated) > 0 and np.ptp(simulated) > 0
    return {
        "emulated": rounded(means[0]),
        "simulated": rounded(means[1]),
        "mape": rounded(PERCENT * relative.mean()) if defined.any() else None,
        "bias": rounded(PERCENT * (means[1] - means[0]) / means[0]) if means[0] else None,
        "correlation": rounded(np.corrcoef(emulated, simulated)[0, 1]) if varies else None,
        "n": len(emulated),
    }


def _p95(e2e: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """One pair of 95th percentiles a policy; over several policies, their errors together."""
    pairs = [
        (np.percentile(rows["emulated"], 95), np.percentile(rows["simulated"], 95))
        for rows in (e2e[e2e["policy"] == label] for label in labels)
        if len(rows)
    ]
    return errors(np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs]))


def _different_outputs(emulated: RunData, simulated: RunData) -> list[dict[str, Any]]:
    """The requests whose tokens differ, or that only one side answered, each with where they part."""
    key = ["policy", "repeat", "prompt_id"]
    ours, theirs = ({tuple(k): v for k, v in _tokens(run, key)} for run in (emulated, simulated))
    different = []
    for one in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(one), theirs.get(one)
        if a == b:
            continue
        shared = zip(a or (), b or (), strict=False)
        position = next((at for at, (x, y) in enumerate(shared) if x != y), min(len(a or ()), len(b or ())))
        different.append({"policy": one[0], "repeat": int(one[1]), "prompt": one[2], "output_position": position})
    return different


def _tokens(run: RunData, key: list[str]) -> list[tuple[list[Any], tuple[int, ...]]]:
    return [([row[name] for name in key], tuple(row["tokens"])) for row in run.requests.to_dict("records")]
