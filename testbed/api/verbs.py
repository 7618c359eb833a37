"""What Python callers do with experiments: simulate, emulate, sweep, compare, search for a capacity.

Every function takes an experiment as a file, a shipped name ("quickstart") or a mapping, and overrides as a mapping
(`{"workload.requests": 10}`) or as texts (`["workload.requests=10"]`). Rule kept: nothing is decided here that the
command line decides, so the same input gives the same run either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from testbed.api.commandline import call
from testbed.api.given import Experiment, Overrides, as_file, as_overrides
from testbed.api.run import Run, load
from testbed.api.watching import watching
from testbed.errors import BadInput
from testbed.workload.slo import SCOPES, Scope, Window

if TYPE_CHECKING:
    from testbed.experiment.compute import NodeChoice
    from testbed.network.capabilities import FabricChoice

Rate = float | Sequence[float]


def simulate(
    experiment: Experiment,
    overrides: Overrides = None,
    *,
    seed: int | None = None,
    out: str | Path = "runs",
    table: str | None = None,
    progress: bool = True,
) -> Run:
    """Runs an experiment in virtual time, in this process; returns the `Run`.

    `out`: folder for run directories. `table`: decode table by name or path; None: one that fits. `progress`: whether
    to show it. Raises BadInput for what is wrong with the experiment, RunInvalid where a policy fails.
    """
    from testbed.experiment.document import load_scenario
    from testbed.simulation import engine

    with as_file(experiment) as path:
        scenario = load_scenario(path, as_overrides(overrides, seed=seed))
        total = scenario.workload.requests * scenario.repeats * len(scenario.policies)
        with watching(progress, total) as watcher:
            outcome = engine.run(scenario, engine.Options(out=Path(out), table=table), watcher)
    return load(outcome.directory)


def emulate(
    experiment: Experiment,
    overrides: Overrides = None,
    *,
    seed: int | None = None,
    out: str | Path = "runs",
    fabric: FabricChoice = "auto",
    nodes: NodeChoice = "auto",
    pcap: Sequence[str] = (),
    probe: bool = True,
    plan: bool = True,
    progress: bool = True,
) -> Run:
    """Runs an experiment with real models over shaped links, in a child process; returns the `Run`.

    `fabric`: "auto", "netem", "relay" or "lab". `nodes`: "auto", "process" or "docker". `pcap`: pairs of nodes to
    capture, "user0:target0". `probe`: watch the links during the run. `plan`: a pilot first, which says how long it
    will take, and chooses the dilation. A run that finished and is not valid comes back
    too: look at `.valid` and `.reasons`. Raises BadInput, MachineCannot where this machine cannot do it, and RunInvalid
    where the run could not finish. An interrupt ends the run in order.
    """
    options = ["--fabric", fabric, "--nodes", nodes, "--out", out]
    options += [part for pair in pcap for part in ("--pcap", pair)]
    options += ([] if probe else ["--no-probe"]) + ([] if plan else ["--no-plan"])
    with as_file(experiment) as path, watching(progress) as watcher:
        found = call(["run", *options, path, *as_overrides(overrides, seed=seed)], watcher.note)
    return load(found["directory"])


def sweep(
    experiment: Experiment,
    overrides: Overrides = None,
    *,
    engine: Literal["simulation", "emulation"] = "simulation",
    out: str | Path = "runs",
    workers: int | None = None,
    metrics: Sequence[str] | Literal["all"] | None = None,
    keep_logs: bool = False,
    intervals: bool = True,
    fabric: FabricChoice = "auto",
    nodes: NodeChoice = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Runs every point of an experiment's `matrix:`; points that are finished are not run again.

    Returns one row per point and policy: `point`, `run_id`, a column for each swept key, `policy`, `status`, `valid`,
    `reasons`, and for each metric M its median or value `M`, the ends of its 95 % interval `M_low` and `M_high`, and
    `M_p95`, in the metric's unit. `.attrs` has `directory`, `valid`, `failed` and `not_valid`. `workers`: processes;
    None: one per core. `metrics`: names of the registry; None: the headline ones. Raises BadInput, MachineCannot.
    """
    options: list[Any] = ["--engine", engine, "--out", out, "--fabric", fabric, "--nodes", nodes]
    options += [] if workers is None else ["--workers", workers]
    if metrics is not None:
        options += ["--metrics", metrics if isinstance(metrics, str) else ",".join(metrics)]
    options += ["--keep-logs"] if keep_logs else []
    options += [] if intervals else ["--no-intervals"]
    with as_file(experiment) as path, watching(progress) as watcher:
        found = call(["sweep", *options, path, *as_overrides(overrides)], watcher.note)
    frame = pd.read_parquet(found["table"])
    frame.attrs = {key: found[key] for key in ("directory", "valid", "failed", "not_valid")}
    return frame


def query(
    sql: str | None = None,
    runs: str | Path = "runs",
    *,
    experiment: str | None = None,
    policy: str | None = None,
    metric: str | None = None,
    engine: str | None = None,
    valid: bool | None = None,
) -> pd.DataFrame:
    """Queries all finished runs of a folder, as `testbed runs query` does.

    With `sql`, what the SELECT finds in the tables `runs`, `metrics`, `requests`, `rounds`, `steps`, `messages`,
    `links`, `replay`, `probes`, which `run` joins. Without it, one row per run, policy and metric that passes the other
    arguments. Nothing but these tables is read, and nothing is written. Raises BadInput with the database's own words.
    """
    from testbed.results import query as database

    filters = database.Filters(experiment, policy, metric, engine, valid)
    if sql is None:
        return database.metrics(Path(runs), filters)
    if filters.any:
        raise BadInput("query: options choose where there is no SQL; put the condition into its WHERE")
    return database.query(Path(runs), sql)


def compare(run: str | Path | Run, *others: str | Path | Run) -> pd.DataFrame:
    """Compares runs with the first, paired by policy, prompt and repeat.

    Returns one row per other run, policy and metric, indexed by them: `base` and `other` (medians over pairs, in the
    metric's unit), `ratio` (other / base, of medians) with its 95 % interval `low` to `high`, `n` pairs. `.attrs` has
    `valid`, whether all runs are. Raises BadInput where nothing pairs, or one is not a finished run.
    """
    from testbed.results.compare import compare_runs

    found = compare_runs([load(one).directory for one in (run, *others)])
    rows = []
    for one in found["comparisons"]:
        for policy, paired in one["policies"].items():
            for metric, figures in paired["metrics"].items():
                ratio = figures["ratio_of_medians"] or {}
                low, high = ratio.get("ci95") or (None, None)
                told = {"base": figures["base"], "other": figures["other"], "ratio": ratio.get("value")}
                where = {"run": one["run"]["path"], "policy": policy, "metric": metric}
                rows.append({**where, **told, "low": low, "high": high, "n": figures["n"]})
    frame = pd.DataFrame(rows).set_index(["run", "policy", "metric"]).astype({"n": int})
    frame.attrs = {"valid": found["valid"]}
    return frame


def capacity(
    experiment: Experiment,
    overrides: Overrides = None,
    *,
    rates: Sequence[Rate] = (2, 4, 6, 8),
    policies: Sequence[str] = (),
    duration_s: float = 120.0,
    scopes: Sequence[Scope] = SCOPES,
    seeds: Sequence[int] = (),
    prompts: Sequence[str] = (),
    window: Window = "whole",
    bound: float = 0.05,
    most: int = 512,
    points: int = 0,
    table: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Finds how many concurrent users a policy serves within their SLO, in virtual time.

    `rates`: SLOs in tokens per second, each searched alone; a sequence within it, `[(2, 8)]`, is a mix of classes in
    equal parts. `policies`: only these labels. `duration_s`: seconds in which requests count. `scopes`: who must get
    the rate. `seeds`: fleets probed together. `prompts`: prompt sets in place of the experiment's. `bound`: share of
    requests, or users, that may miss their SLO. `most`: upper bound of the search, users. `points`: more fleet sizes
    for the curve. Returns one row per prompt set, rate and policy: `policy`, `prompts`, `tokens_per_s`, `capacity`
    (users, each request), `capacity_per_user`, `capacity_fleet`, each with `_low` and `_high` (95 % interval over
    prompts and seeds), `tokens_per_s_per_user`, `token_goodput` (tokens per second), `violations` (share), `requests`,
    `by_class`, `not_monotone`, `window`, `seeds`, and `curve`, a list of rows for a DataFrame. Raises BadInput.
    """
    named = ["+".join(f"{one:g}" for one in ([rate] if isinstance(rate, int | float) else rate)) for rate in rates]
    options: list[Any] = ["--rates", ",".join(named), "--duration", duration_s, "--window", window]
    options += ["--bound", bound, "--most", most]
    options += [part for label in policies for part in ("--policy", label)]
    options += [part for one in scopes for part in ("--scope", one)]
    options += [part for one in prompts for part in ("--prompts", one)]
    options += ["--seeds", ",".join(str(seed) for seed in seeds)] if seeds else []
    options += ["--points", points]
    options += [] if table is None else ["--table", table]
    options += [] if workers is None else ["--workers", workers]
    with as_file(experiment) as path, watching(progress) as watcher:
        found = call(["capacity", *options, path, *as_overrides(overrides)], watcher.note)
    return pd.DataFrame(found["capacities"])
