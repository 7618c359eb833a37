"""CSV: every table of the run, and its metrics, a file each. Lists in a cell are numbers with a space between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from testbed.files.whole import replacing
from testbed.results.export.measured import Measured
from testbed.results.store import LIVE_RECORDS, RECORDS

METRICS = "metrics.csv"


def write(run: Measured, folder: Path) -> Iterator[Path]:
    yield _write(folder / METRICS, pd.DataFrame(run.metrics()).astype({"n": "Int64"}))
    for kind in (*RECORDS, *LIVE_RECORDS):
        frame = getattr(run.data, kind)
        if kind in RECORDS or not frame.empty:
            yield _write(folder / f"{kind}.csv", frame)


def _write(path: Path, frame: pd.DataFrame) -> Path:
    lists = {name: frame[name].map(_cell) for name in frame.columns if frame[name].map(_is_list).any()}
    with replacing(path) as partial:
        frame.assign(**lists).to_csv(partial, index=False)
    return path


def _is_list(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def _cell(value: object) -> str:
    return " ".join(str(one) for one in value) if _is_list(value) else str(value)  # type: ignore[attr-defined]
