"""A finished run as Python sees it: its tables as DataFrames, its summary, and the registry's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.errors import BadInput
from testbed.files.yamlfile import nearest
from testbed.results.metrics import LISTS, REGISTRY, PolicyLog, policy_logs
from testbed.results.metrics.base import FIGURES, figures
from testbed.results.stamps import SIMULATED, across, stamps
from testbed.results.store import RunData, RunDirectory, using
from testbed.results.store import load as read_run

LATEST = "latest"  # of a folder of runs


class Run:
    """A run directory. Tables are pandas DataFrames, one row per record, read when they are first asked for.

    Times in columns named `*_ns` are nanoseconds of one clock, in `*_ms` milliseconds. `requests` has one row per
    request, `rounds` per verification, `steps` per forward pass, `messages` per message, `links` per check of a
    directed link; what each column holds is in docs/reference. In a notebook a run shows its headline metrics.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __repr__(self) -> str:
        told = "valid" if self.valid else f"NOT VALID: {'; '.join(self.reasons)}"
        simulated = f", {SIMULATED}" if SIMULATED in across(self.summary) else ""
        return f"<Run {self.directory} ({self.summary['experiment']}, {self.summary['engine']}): {told}{simulated}>"

    def _repr_html_(self) -> str:
        head = "".join(
            f"<p><b>{one.title}</b> {'; '.join(filter(None, (one.about, *one.lines)))}</p>"
            for one in stamps(self.summary)
        )
        shown = pd.concat({tag: self.metrics(tag)["value"] for tag in ("tpot_ms", "ttft_ms", "e2e_ms")}, axis=1)
        return f"<p>{self.directory}</p>{head}{shown.to_html()}"

    @property
    def requests(self) -> pd.DataFrame:
        return self._data.requests

    @property
    def rounds(self) -> pd.DataFrame:
        return self._data.rounds

    @property
    def steps(self) -> pd.DataFrame:
        return self._data.steps

    @property
    def messages(self) -> pd.DataFrame:
        return self._data.messages

    @property
    def links(self) -> pd.DataFrame:
        return self._data.links

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Everything that decided the run, as in `manifest.json`."""
        return self._data.manifest

    @cached_property
    def summary(self) -> dict[str, Any]:
        """`summary.json`."""
        return RunDirectory(self.directory).read_summary()

    @property
    def valid(self) -> bool:
        """Whether the run's numbers may be trusted."""
        return bool(self.summary["validity"]["valid"])

    @property
    def reasons(self) -> list[str]:
        """Why the run is not valid, a line each; empty where it is."""
        return list(self.summary["validity"]["reasons"])

    @property
    def advice(self) -> list[str]:
        """What to do about each of `reasons`; empty for a run of a version that gave none."""
        return list(self.summary["validity"].get("advice", ()))

    def metrics(self, name: str | None = None) -> pd.DataFrame:
        """A metric of the registry for every policy, as in the run's report.

        One row per policy label, in the experiment's order. Columns: `value` (the median over requests, or a ratio of
        sums), `low` and `high` (95 % bootstrap interval over prompts), `p95`, `n` (values behind it), and `unit`.
        Undefined is NaN. A metric by draft position or by class has one row for each, on a second index level `at`.
        Without a name: every metric that is one number, the name being the first index level. Raises BadInput for a
        name that is not in the registry.
        """
        if name is None:
            frames = {tag: self.metrics(tag) for tag in REGISTRY}
            return pd.concat({tag: one for tag, one in frames.items() if one.index.nlevels == 1}, names=["metric"])
        if name not in REGISTRY:
            raise BadInput(f"no metric {name!r}{nearest(name, REGISTRY)}")
        with using(self.directory):
            rows = [
                {"policy": label, **row}
                for label, log in self._logs.items()
                for row in figures(REGISTRY[name].compute(log))
            ]
        frame = pd.DataFrame(rows, columns=["policy", "at", *FIGURES]).assign(unit=REGISTRY[name].unit)
        if name in LISTS:
            return frame.dropna(subset="at").set_index(["policy", "at"])
        return frame.drop(columns="at").set_index("policy")

    @cached_property
    def _data(self) -> RunData:
        return read_run(self.directory)

    @cached_property
    def _logs(self) -> dict[str, PolicyLog]:
        return policy_logs(self._data)


def load(run: str | Path | Run) -> Run:
    """A finished run by its directory: `runs/latest`, or a folder of runs, whose newest is taken.

    Returns a `Run`. Raises BadInput, in one line, where no finished run lies there, or its files are damaged.
    """
    if isinstance(run, Run):
        return run
    directory = Path(run)
    if not (directory / "manifest.json").exists() and (directory / LATEST).exists():
        directory /= LATEST
    found = Run(directory.resolve() if directory.exists() else directory)
    _ = found.summary  # says in one line what is not a finished run
    return found
