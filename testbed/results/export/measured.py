"""A run as the exporters read it: its tables, its summary, and a clock that begins at a time of day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.results.metrics import FAMILIES
from testbed.results.metrics.base import figures
from testbed.results.store import RunData, RunDirectory, load, using
from testbed.system.units import NS_PER_S

SIMULATED_NS = 86_400 * NS_PER_S
REQUEST = ["policy", "repeat", "request"]  # names one request of a run


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """Its rows, with the columns as attributes."""
    return iter(frame.itertuples())


@dataclass(frozen=True)
class Measured:
    data: RunData
    summary: dict[str, Any]

    @classmethod
    def of(cls, directory: Path) -> Measured:
        """Raises BadInput for what is no finished run."""
        with using(directory):
            return cls(load(directory), RunDirectory(directory).read_summary())

    @property
    def experiment(self) -> str:
        return str(self.data.manifest["experiment"])

    @property
    def run_id(self) -> str:
        return str(self.data.manifest["run_id"])

    @property
    def labels(self) -> list[str]:
        """Of the policies, in the experiment's order."""
        return [str(entry["label"]) for entry in self.data.manifest["policies"]]

    @property
    def sites(self) -> dict[str, str]:
        """Of the nodes."""
        return dict(self.data.manifest["node_placement"])

    @cached_property
    def offset_ns(self) -> int:
        """From the run's clock to time since the epoch: the first request is at the run's start.

        A simulation has no time of day: its first request comes a day after the epoch, as many take 0 for no time.
        """
        started = self.data.manifest.get("started")
        at_ns = SIMULATED_NS if started is None else int(datetime.fromisoformat(started).timestamp()) * NS_PER_S
        first = 0 if self.data.requests.empty else int(self.data.requests["sent_ns"].min())
        return at_ns - first

    def wall_ns(self, run_ns: int) -> int:
        return int(run_ns) + self.offset_ns

    def requests_of(self, label: str) -> pd.DataFrame:
        """Those that were answered, in the order in which they were sent."""
        requests = self.data.requests
        found: pd.DataFrame = requests[requests["policy"] == label].sort_values(["repeat", "sent_ns", "request"])
        return found

    def rounds_of(self, label: str) -> pd.DataFrame:
        """With drafts to verify: what a server calls a speculation step."""
        rounds = self.data.rounds
        found: pd.DataFrame = rounds[(rounds["policy"] == label) & (rounds["drafts"] > 0)]
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """Every metric of every policy as rows, as `summary.json` has them."""
        return [
            {"policy": label, "metric": metric.tag, "at": row.pop("at", None), **row, "unit": metric.unit}
            for label in self.labels
            for members in FAMILIES.values()
            for metric in members
            for row in figures(self.summary["policies"][label].get(metric.tag))
        ]
