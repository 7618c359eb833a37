"""Tables of claims that are not sweeps: capacities, fits of WISP's estimator, rejection predictors.

Rule kept: they have the columns that a sweep's table has (`point`, `policy`, `status`, `valid`, settings, metrics), so
a claim says in one way where its value comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.files.whole import check_folder
from testbed.reproduce.claims import CapacityEntry, Claims, EstimatorEntry, PredictorEntry
from testbed.simulation import capacity
from testbed.sweeps.capacity import Searched, run_capacity
from testbed.sweeps.progress import SweepProgress
from testbed.sweeps.run import SweepOptions
from testbed.sweeps.table import FAILED, FINISHED
from testbed.training.controllers.report import train_to_file
from testbed.training.controllers.train import TrainOptions
from testbed.training.estimation import estimate_profile

ESTIMATE = "estimate"


def measured(claims: Claims, folder: Path, options: SweepOptions, progress: SweepProgress) -> dict[str, pd.DataFrame]:
    """By source. Capacities are kept from run to run, the others take seconds."""
    tables = {key: _capacity(key, entry, folder, options, progress) for key, entry in claims.capacities.items()}
    tables |= {key: _estimator(entry) for key, entry in claims.estimators.items()}
    tables |= {key: _predictor(key, entry, options.out, progress) for key, entry in claims.predictors.items()}
    return tables


def capacity_table(found: Sequence[Searched], most_users: int) -> pd.DataFrame:
    """One row a search. `_low` and `_high` of a capacity are the fleets that are surely inside and surely outside.

    `attainment_8`: of a mixed fleet at capacity, the share of that class's requests that had their rate.
    """
    rates = list(dict.fromkeys(one.rate_per_s for one in found))
    rows = []
    for one in found:
        result = one.result or {}
        users = result.get("users")
        rows.append(
            {
                "point": rates.index(one.rate_per_s),
                "tokens_per_s": one.rate_per_s,
                "policy": one.policy,
                "status": FINISHED if one.error is None else FAILED,
                "error": one.error,
                "valid": one.error is None,
                "capacity": users,
                "capacity_low": result.get("surely"),
                "capacity_high": result.get("beyond"),
                "capacity_bound": "at least" if users == most_users else "",
                "token_goodput": result.get("token_goodput"),
                "violations": result.get("violations"),
                **{f"attainment_{rate:g}": 1 - missed / n for rate, n, missed in result.get("by_class", ())},
            }
        )
    numbers = ["capacity", "capacity_low", "capacity_high", "token_goodput", "violations"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))


def _capacity(
    key: str, entry: CapacityEntry, folder: Path, options: SweepOptions, progress: SweepProgress
) -> pd.DataFrame:
    progress.note(f"{key}: {entry.file}")
    asked = capacity.SearchOptions(duration_s=entry.duration_s, bound=entry.bound, most_users=entry.most_users)
    path = folder / entry.file
    found = run_capacity(
        path, entry.overrides, entry.fleets, entry.policies, asked, options.out, options.workers, progress
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
