"""All runs of a folder as tables of one database, for SQL: DuckDB over their parquet files.

`runs` has a row a run, `metrics` one for each policy and metric of `summary.json`; `requests`, `rounds`, `steps`,
`messages`, `links`, `replay` and `probes` are the logs, with the run each row is of. `run` joins them.

Rule kept: a query reads these tables and nothing else, and writes nothing. DuckDB opens no file itself: it is given
the tables by this process, access to anything outside is switched off, and so is changing that. Files are not compared
with their checksums here, as that would read all of each: `testbed report` and `calibrate` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from testbed.errors import BadInput
from testbed.files.reading import shown
from testbed.results.attempts import Found, find
from testbed.results.metrics import REGISTRY
from testbed.results.metrics.base import FIGURES, figures
from testbed.results.stamps import stamps
from testbed.results.store import LIVE_RECORDS, RECORDS, RunDirectory, schema_of

if TYPE_CHECKING:
    import duckdb

# What a query is kept from. The last one holds the others in place.
SEALED = (
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET lock_configuration = true",
)
LOGS = {**RECORDS, **LIVE_RECORDS}
RUN_COLUMNS = ("run", "experiment", "run_id", "engine", "fabric", "nodes", "valid", "reasons", "stamps", "directory")
METRIC_COLUMNS = ("run", "experiment", "policy", "metric", "part", *FIGURES, "unit")
FLAT = ("run", "experiment", "engine", "valid", "policy", "metric", "part", *FIGURES, "unit")


@dataclass(frozen=True)
class Filters:
    """What is asked for without SQL; None: any."""

    experiment: str | None = None
    policy: str | None = None
    metric: str | None = None
    engine: str | None = None
    valid: bool | None = None
    run: str | None = None

    @property
    def any(self) -> bool:
        return any(value is not None for value in vars(self).values())


def query(out: Path, sql: str) -> pd.DataFrame:
    """What a SELECT over all finished runs in the folder finds. Raises BadInput with the database's own words."""
    import duckdb

    with _opened(out) as connection:
        try:
            found = connection.execute(sql)
            return found.df() if found.description is not None else pd.DataFrame()
        except (duckdb.Error, pa.ArrowException) as error:
            raise BadInput(f"runs query: {_said(error)}") from error


def metrics(out: Path, filters: Filters) -> pd.DataFrame:
    """A row for each run, policy and metric that passes. Raises BadInput for a metric that there is not."""
    from testbed.files.yamlfile import nearest

    if filters.metric is not None and filters.metric not in REGISTRY:
        raise BadInput(f"no metric {filters.metric!r}{nearest(filters.metric, REGISTRY)}")
    wanted = {key: value for key, value in vars(filters).items() if value is not None}
    where = " AND ".join(f"{key} IS NOT DISTINCT FROM ${key}" for key in wanted) or "true"
    columns = ", ".join(f'"{name}"' for name in FLAT)
    with _opened(out) as connection:
        sql = f"SELECT {columns} FROM metrics JOIN (SELECT run, engine, valid FROM runs) USING (run) WHERE {where}"
        return connection.execute(f"{sql} ORDER BY run, metric, policy, part", wanted).df()


def finished(out: Path) -> list[Found]:
    return [one for one in find(out) if one.state == "finished"]


def _opened(out: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    runs = finished(out)
    names = {one.path: one.path.relative_to(out).as_posix() for one in runs}
    connection = duckdb.connect(":memory:")
    about: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for one in runs:
        summary = RunDirectory(one.path).read_summary()
        about.append(_about(names[one.path], one, summary))
        found += _figures(names[one.path], summary)
    connection.register("runs_", pa.Table.from_pylist(about, _schema(RUN_COLUMNS)))
    connection.register("metrics_", pa.Table.from_pylist(found, _schema(METRIC_COLUMNS)))
    for name in ("runs", "metrics"):
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_")
    for kind, record in LOGS.items():
        _register(connection, out, kind, [one.path for one in runs], _nullable(schema_of(record)))
    for line in SEALED:
        connection.execute(line)
    return connection


def _register(
    connection: duckdb.DuckDBPyConnection, out: Path, kind: str, runs: Sequence[Path], schema: pa.Schema
) -> None:
    """One dataset for all runs of one folder, so that a thousand runs are few tables; its folder names the run."""
    parts = []
    for number, (folder, there) in enumerate(_by_folder(runs).items()):
        files = [str(run / f"{kind}.parquet") for run in there if (run / f"{kind}.parquet").is_file()]
        if not files:
            continue
        named = pa.schema([("run", pa.string())])
        made = ds.dataset(
            files, pa.schema([*schema, *named]), format="parquet", partition_base_dir=str(folder),
            partitioning=ds.DirectoryPartitioning(named, segment_encoding="none"),
        )  # fmt: skip
        connection.register(f"{kind}_{number}", made)
        prefix = "" if folder == out else f"{folder.relative_to(out).as_posix()}/"
        text = prefix.replace("'", "''")
        parts.append(f"SELECT '{text}' || run AS run, * EXCLUDE (run) FROM {kind}_{number}")
    if not parts:
        empty = pa.schema([("run", pa.string()), *schema]).empty_table()
        connection.register(f"{kind}_0", empty)
        parts = [f"SELECT * FROM {kind}_0"]
    connection.execute(f"CREATE VIEW {kind} AS {' UNION ALL '.join(parts)}")


def _by_folder(runs: Sequence[Path]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for run in runs:
        found.setdefault(run.parent, []).append(run)
    return found


def _about(name: str, one: Found, summary: Mapping[str, Any]) -> dict[str, Any]:
    judged = summary.get("validity", {})
    return {
        "run": name,
        **{key: summary.get(key) for key in ("experiment", "run_id", "engine", "fabric", "nodes")},
        "valid": judged.get("valid"),
        "reasons": list(judged.get("reasons", ())),
        "stamps": [stamp.title for stamp in stamps(summary)],
        "directory": str(one.path.resolve()),
    }


def _figures(name: str, summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for policy, by_metric in summary.get("policies", {}).items():
        for metric, statistic in by_metric.items():
            unit = REGISTRY[metric].unit if metric in REGISTRY else None
            for row in figures(statistic):
                part = row.pop("at", None)  # a position or class; "at" is a word of SQL
                whose = {"run": name, "experiment": summary.get("experiment"), "policy": policy, "metric": metric}
                yield {**whose, **row, "part": None if part is None else str(part), "unit": unit}


def _schema(columns: Sequence[str]) -> pa.Schema:
    kinds: dict[str, pa.DataType] = {
        "valid": pa.bool_(), "reasons": pa.list_(pa.string()), "stamps": pa.list_(pa.string()), "n": pa.int64(),
        **dict.fromkeys(("value", "low", "high", "p95"), pa.float64()),
    }  # fmt: skip
    return pa.schema([(name, kinds.get(name, pa.string())) for name in columns])


def _nullable(schema: pa.Schema) -> pa.Schema:
    """A run of an older version may lack a column."""
    return pa.schema([field.with_nullable(True) for field in schema])


def _said(error: Exception) -> str:
    """Its first sentence: the rest draws an arrow at the place in the query."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("LINE ", "^")))


def about(out: Path, run: str) -> tuple[dict[str, Any], Path, str]:
    """What a run was; the folder it lies in and its name there. Raises BadInput."""
    path = folder_of(out, run).resolve()
    (one,) = [one for one in find(path.parent) if one.path.name == path.name]
    directory = RunDirectory(path)
    facts, manifest = _about(path.name, one, directory.read_summary()), directory.read_manifest()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    facts |= {"policies": [entry["label"] for entry in manifest["policies"]], "megabytes": round(size / 1e6, 3)}
    return facts, path.parent, path.name


def folder_of(out: Path, run: str) -> Path:
    """A run by its directory, by its name in the folder, or by the beginning of its run id. Raises BadInput."""
    for path in (Path(run), out / run):
        if (path / "summary.json").is_file():
            return path
    if not out.is_dir():
        raise BadInput(f"--out {out}: no such folder")
    found = [one.path for one in finished(out) if one.run_id.startswith(run) or one.path.name == run]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{run}: means several runs: {', '.join(shown(path) for path in found)}")
    raise BadInput(f"{run}: no finished run of this directory, name or run id in {out}; see testbed runs list")
