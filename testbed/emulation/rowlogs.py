"""A run's log rows between the nodes that wrote them and the tables: files, read a row at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import RunInvalid
from testbed.nodes.rowfile import Row, read_rows


@dataclass(frozen=True)
class RowLog:
    """One file and how many rows its writer says that it holds."""

    path: Path
    rows: int

    def __iter__(self) -> Iterator[Row]:
        """Raises RunInvalid at the end when rows are missing."""
        count = 0
        for row in read_rows(self.path):
            count += 1
            yield row
        if count != self.rows:
            raise RunInvalid(f"{self.path}: holds {count} of the {self.rows} rows written to it")
