"""Reads the files that traces are published in, told apart by what they hold, never by their names.

Azure 2023 and 2024 (CSV, `TIMESTAMP,ContextTokens,GeneratedTokens`), BurstGPT (CSV, with or without sessions), Mooncake
(JSON lines with `hash_ids`), and what simulators and this testbed write: CSV with columns for time, input and output.
ServeGen's files hold rates, not requests: `servegen`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.files.reading import MIB, as_text, csv_rows, read_bytes, refuse_file
from testbed.files.yamlfile import said
from testbed.workload.jsonobjects import objects
from testbed.workload.load.asked import Trace
from testbed.workload.load.rows import Reader, columns, plain, take_all, unit_of

MOST_BYTES = 256 * MIB  # about five million requests
BLOCK_TOKENS = 512  # of Mooncake's hashes


def read_trace(path: Path) -> Trace:
    """The requests of a trace's file. Raises BadInput with file, every wrong line and what to write."""
    content = read_bytes(path, MOST_BYTES)
    text = as_text(content, path)
    form, reader = _json(path, text) if text.lstrip()[:1] in ("{", "[") else _csv(path, text)
    requests, starts, about = reader.requests()
    return Trace(path.stem, form, requests, hashlib.sha256(content).hexdigest(), starts, about)


def _csv(path: Path, text: str) -> tuple[str, Reader]:
    lines = text.splitlines()
    skipped = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if skipped is None:
        refuse_file(path, "holds no requests: it is empty")
    first = lines[skipped]
    delimiter = max(",;\t", key=first.count)
    rows = csv_rows("\n" * skipped + "\n".join(lines[skipped:]), path, delimiter)
    if not rows:
        refuse_file(path, "holds no requests: its lines are empty")
    line, header = rows[0]
    if len(header) < 3 or all(cell[:1].isdigit() for cell in header if cell):
        refuse_file(
            path, f"the first line must name the columns, as TIMESTAMP,ContextTokens,GeneratedTokens; it is "
            f"{said(first)}", line,
        )  # fmt: skip
    role_of = columns(header, path, line)
    names = {plain(name) for name in header}
    form = "other"
    if {"contexttokens", "generatedtokens"} <= names:
        form = "azure"
    elif {"requesttokens", "responsetokens"} <= names:
        form = "burstgpt"
    places = {role: header.index(name) for role, name in role_of.items()}
    reader = Reader(path, unit_of(role_of["time"], "s"))

    def told() -> Iterator[tuple[int, Mapping[str, Any], int, None]]:
        for at, cells in rows[1:]:
            if len(cells) != len(header):
                refuse_file(path, f"{len(cells)} fields, not the {len(header)} that the header names", at)
            yield at, {role: cells[place] for role, place in places.items()}, 0, None

    take_all(reader, told(), path)
    return form, reader


def _json(path: Path, text: str) -> tuple[str, Reader]:
    rows = list(objects(path, text))
    (first_line, first), *_ = rows
    role_of = columns(list(first), path, first_line)
    unit = unit_of(role_of["time"], "ms")  # Mooncake's, and of those who write its format
    reader, cache = Reader(path, unit), _PrefixCache()
    form = "mooncake" if any("hash_ids" in row for _, row in rows[:100]) else "other"

    def told() -> Iterator[tuple[int, Mapping[str, Any], int, int | None]]:
        for number, (at, row) in enumerate(rows):
            roles = {role: row.get(name) for role, name in role_of.items()}
            hashes = row.get("hash_ids")
            yield at, roles, *(cache.known(number, hashes) if isinstance(hashes, list) else (0, None))

    take_all(reader, told(), path)
    return form, reader


class _PrefixCache:
    """How much of a prompt a cache without bounds would hold: its leading blocks that were seen before."""

    def __init__(self) -> None:
        self._seen: dict[Any, int] = {}  # block to the row that had it first

    def known(self, row: int, blocks: list[Any]) -> tuple[int, int]:
        """How many tokens, and of which row: the one itself where there are none."""
        count, like = 0, row
        for block in blocks:
            if not isinstance(block, (int, str)) or block not in self._seen:
                break
            count, like = count + 1, self._seen[block]
        for block in blocks:
            if isinstance(block, (int, str)):
                self._seen.setdefault(block, row)
        return count * BLOCK_TOKENS, like
