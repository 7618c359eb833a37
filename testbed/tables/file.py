"""The parquet file of a decode table: one row per position, rollouts as nested lists, the rest in the file's metadata.

Rule kept: what is read is what was written, to the last bit, or BadInput says that it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from testbed.errors import BadInput
from testbed.files.named import TABLE
from testbed.files.reading import decode_json, open_table, reading
from testbed.files.reading import read_table as read_arrow
from testbed.files.whole import replacing
from testbed.tables.table import (
    DecodeTable,
    PromptTable,
    Provenance,
    RolloutFeatures,
    make_table,
    output_key,
    prompt_of,
)

FORMAT = 1
WHAT, AGAIN = "a decode table", "record it again with `testbed record`"
METADATA_KEY = b"testbed.decode-table"
ZSTD_LEVEL = 9

SEED = "request_seed"  # column of a sampled table: prompt and seed say whose output a row is of
# Column by field of PromptTable. Those of the target are null in a prompt's last row.
TARGET = {"target_token": "tokens", "target_entropy": "entropies", "target_top2_gap": "top2_gaps"}
STATE = {"draft_margin": "margins", "draft_logit_variance": "logit_variances"}
LISTS = {
    "draft_top_tokens": "top_tokens",
    "draft_top_probabilities": "top_probabilities",
    "rollout_tokens": "rollout_tokens",
    "rollout_entropies": "rollout_entropies",
    "rollout_confidences": "rollout_confidences",
}
SECOND = {
    "second_tokens": "second_tokens",
    "second_entropies": "second_entropies",
    "second_confidences": "second_confidences",
}
# Columns of RolloutFeatures; left out of tables that were recorded without them.
FEATURES = {"rollout_margins": "margins", "rollout_logit_variances": "logit_variances"}


class _Origin(msgspec.Struct, frozen=True):
    """The header without its prompts: all that is needed to choose a table."""

    format: int
    sha256: str
    provenance: Provenance


class _Header(_Origin, frozen=True):
    """`prompts` gives the token ids by the table's key (`output_key`), in the order of the rows."""

    prompts: dict[str, tuple[int, ...]]


_OneHeader = TypeVar("_OneHeader", bound=_Origin)


def write_table(table: DecodeTable, path: Path) -> None:
    """Write the file; BadInput if its folder cannot be written to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(column: str) -> Any:
        return pa.int32() if "token" in column else pa.float64()

    if path.suffix != TABLE.suffix:
        raise BadInput(f"{path}: a decode table is a {TABLE.suffix} file; give it that suffix")
    prompts, made_of = table.prompts.values(), table.provenance
    keys = [key for key, one in table.prompts.items() for _ in one.rollout_tokens]
    columns: dict[str, Any] = {
        "prompt_id": pa.array([prompt_of(key, made_of) for key in keys]),
        "position": pa.array([at for one in prompts for at in range(len(one.rollout_tokens))], pa.int32()),
        "matched": pa.array([one.matched(at) for one in prompts for at in range(len(one.rollout_tokens))], pa.int32()),
    }
    if made_of.sampling is not msgspec.UNSET:
        columns[SEED] = pa.array([int(key.rpartition("@")[2]) for key in keys], pa.int64())
    for column, field in TARGET.items():
        columns[column] = pa.array([value for one in prompts for value in (*getattr(one, field), None)], kind(column))
    for column, field in STATE.items():
        columns[column] = pa.array([value for one in prompts for value in getattr(one, field)], kind(column))
    for column, field in (LISTS | SECOND).items():
        rows = [row for one in prompts for row in getattr(one, field)]
        if rows:
            columns[column] = pa.array(rows, pa.list_(kind(column)))
    features = [one.rollout_features for one in prompts if one.rollout_features is not msgspec.UNSET]
    if len(features) == len(prompts):
        for column, field in FEATURES.items():
            columns[column] = pa.array([row for one in features for row in getattr(one, field)], pa.list_(kind(column)))
    header = _Header(FORMAT, table.sha256, table.provenance, {key: one.prompt for key, one in table.prompts.items()})
    arrow = pa.table(columns).replace_schema_metadata({METADATA_KEY: msgspec.json.encode(header)})
    with replacing(path) as partial:
        # Without dictionaries of doubles, zstd sees that rollouts repeat each other: a fifth smaller.
        pq.write_table(arrow, partial, compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=["prompt_id"])


def read_table(path: Path) -> DecodeTable:
    """Read and check a file."""
    arrow = read_arrow(path, WHAT, AGAIN)
    header = _header(path, arrow.schema.metadata, _Header)
    seed = () if header.provenance.sampling is msgspec.UNSET else (SEED,)
    missing = [name for name in ("prompt_id", *seed, *TARGET, *STATE, *LISTS) if name not in arrow.column_names]
    if missing:
        raise BadInput(f"{path}: lacks the column {missing[0]!r}; record the table again")
    with reading(path, f"{WHAT}, by the types of its columns", AGAIN):
        table = make_table(path.name.removesuffix(TABLE.suffix), header.provenance, dict(_prompts(header, arrow)))
    if table.sha256 != header.sha256:
        raise BadInput(
            f"{path}: is damaged: its content has hash {table.sha256[:12]}, but its header says {header.sha256[:12]}"
        )
    return table


def read_provenance(path: Path) -> Provenance:
    """From the file's footer alone: neither rows nor hash are checked."""
    file = open_table(path, WHAT, AGAIN)
    with reading(path, WHAT, AGAIN):
        metadata = file.schema_arrow.metadata
    return _header(path, metadata, _Origin).provenance


def _header(path: Path, metadata: Mapping[bytes, bytes] | None, kind: type[_OneHeader]) -> _OneHeader:
    raw = (metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise BadInput(f"{path}: is parquet but not a decode table; record one with `testbed record`")
    header = decode_json(raw, path, kind, f"{WHAT}, by its header", AGAIN)
    if header.format != FORMAT:
        raise BadInput(f"{path}: decode table format {header.format}, this version reads {FORMAT}; record it again")
    return header


def _prompts(header: _Header, arrow: Any) -> Iterator[tuple[str, PromptTable]]:
    """Rows of a prompt lie together, in the header's order."""
    ids = arrow["prompt_id"].to_pylist()
    if (made := header.provenance.sampling) is not msgspec.UNSET:
        seeds = arrow[SEED].to_pylist()
        ids = [output_key(one, made.with_seed(seed)) for one, seed in zip(ids, seeds, strict=True)]
    columns = {field: arrow[name].to_numpy().tolist() for name, field in STATE.items()}
    columns |= {field: arrow[name].to_pylist() for name, field in TARGET.items()}  # by item, because it holds nulls
    columns |= {field: _rows(arrow[name]) for name, field in (LISTS | SECOND).items() if name in arrow.column_names}
    features = {field: _rows(arrow[name]) for name, field in FEATURES.items() if name in arrow.column_names}
    start = 0
    for key, prompt in header.prompts.items():
        end = start
        while end < len(ids) and ids[end] == key:
            end += 1
        ends = {field: end - 1 if field in TARGET.values() else end for field in columns}
        mine: dict[str, Any] = {field: tuple(columns[field][start : ends[field]]) for field in columns}
        if features:
            mine["rollout_features"] = RolloutFeatures(**{name: tuple(features[name][start:end]) for name in features})
        yield key, PromptTable(prompt, **mine)
        start = end
    if start != len(ids):
        raise ValueError(f"row {start} is of prompt {ids[start]!r}, which is not the header's next")


def _rows(column: Any) -> list[tuple[Any, ...]]:
    """A list column as tuples; by its flat values, which is ten times faster than row by row."""
    array = column.combine_chunks()
    offsets = array.offsets.to_pylist()
    values = array.values.to_numpy().tolist()
    return [tuple(values[start:end]) for start, end in pairwise(offsets)]
