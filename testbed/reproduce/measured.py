"""Tables of claims that are not sweeps: capacities, fits of WISP's estimator, rejection predictors.

Rule kept: they have the columns that a sweep's table has (`point`, `policy`, `status`, `valid`, settings, metrics), so
a claim says in one way where its value comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from testbed.files.whole import check_folder
from testbed.reproduce.claims import CapacityEntry, Claims, EstimatorEntry, PredictorEntry
from testbed.reproduce.value import AT_LEAST, BOUND, DRAWS
from testbed.simulation.capacity import SearchOptions
from testbed.simulation.capacityrows import column_of
from testbed.sweeps.capacity import Searched, run_capacity
from testbed.sweeps.progress import SweepProgress
from testbed.sweeps.run import SweepOptions
from testbed.sweeps.table import FAILED, FINISHED
from testbed.training.controllers.report import train_to_file
from testbed.training.controllers.train import TrainOptions
from testbed.training.estimation import estimate_profile
from testbed.workload.slo import SCOPES

ESTIMATE = "estimate"
CAPACITIES = tuple(column_of(scope) for scope in SCOPES)


def measured(claims: Claims, folder: Path, options: SweepOptions, progress: SweepProgress) -> dict[str, pd.DataFrame]:
    """By source. Capacities are kept from run to run, the others take seconds."""
    tables = {key: _capacity(key, entry, folder, options, progress) for key, entry in claims.capacities.items()}
    tables |= {key: _estimator(entry) for key, entry in claims.estimators.items()}
    tables |= {key: _predictor(key, entry, options.out, progress) for key, entry in claims.predictors.items()}
    return tables


def capacity_table(found: Sequence[Searched], most_users: int) -> pd.DataFrame:
    """One row a search. Capacities have `_low` and `_high`, the 95 % interval over prompts and seeds, and `_draws`,
    those of the resamples, which make the interval of a ratio of two policies.

    `attainment_8`: of a mixed fleet at capacity, the share of that class's requests that had their rate.
    """
    points = list(dict.fromkeys((one.prompts, one.rate_per_s) for one in found))
    rows = []
    for one in found:
        result = dict(one.result or {})
        classes, draws = result.pop("by_class", ()), result.pop("draws", {})
        not_monotone = result.pop("not_monotone", ())
        result.pop("curve", None)
        rows.append(
            {
                "point": points.index((one.prompts, one.rate_per_s)),
                "tokens_per_s": one.rate_per_s,
                "prompts": one.prompts,
                "policy": one.policy,
                "status": FINISHED if one.error is None else FAILED,
                "error": one.error,
                "valid": one.error is None,
                **{name: np.nan if value is None else float(value) for name, value in result.items()},
                **{f"{name}{BOUND}": AT_LEAST if result.get(name) == most_users else "" for name in CAPACITIES},
                **{f"{name}{DRAWS}": draws.get(name, []) for name in CAPACITIES},
                "not_monotone": " ".join(not_monotone),
                **{f"attainment_{rate:g}": 1 - missed / n for rate, n, missed in classes},
            }
        )
    return pd.DataFrame(rows)


def _capacity(
    key: str, entry: CapacityEntry, folder: Path, options: SweepOptions, progress: SweepProgress
) -> pd.DataFrame:
    progress.note(f"{key}: {entry.file}")
    asked = SearchOptions(
        duration_s=entry.duration_s,
        bound=entry.bound,
        most_users=entry.most_users,
        window=entry.window,
        scopes=tuple(entry.scopes),
        seeds=tuple(entry.seeds),
    )
    path = folder / entry.file
    found = run_capacity(
        path,
        entry.overrides,
        entry.fleets,
        entry.policies,
        asked,
        options.out,
        options.workers,
        progress,
        entry.prompts,
    )
    return capacity_table(found, entry.most_users)


def _estimator(entry: EstimatorEntry) -> pd.DataFrame:
    rows = [
        {"device": device, "seed": seed, **asdict(estimate_profile(device, seed))}
        for device in entry.devices
        for seed in entry.seeds
    ]
    return _finished(rows, [ESTIMATE] * len(rows))


def _predictor(key: str, entry: PredictorEntry, out: Path, progress: SweepProgress) -> pd.DataFrame:
    check_folder(out)
    judged: dict[tuple[str, str], dict[str, Any]] = {}
    for kind in entry.kinds:
        progress.note(f"{key}: {kind} of {entry.table}")
        for row in train_to_file(entry.table, out / f"{key}-{kind}.json", TrainOptions(kind), entry.others):
            judged[row.predictor, row.prompts] = asdict(row)  # plain rules come with each kind, and are the same
    return _finished(list(judged.values()), [predictor for predictor, _ in judged])


def _finished(rows: Sequence[dict[str, Any]], policies: Sequence[str]) -> pd.DataFrame:
    settings = [{"point": 0, "policy": policy, "status": FINISHED, "valid": True} for policy in policies]
    return pd.DataFrame([{**row, **setting} for row, setting in zip(rows, settings, strict=True)])
