"""`export`: one run, one format, files in a folder."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from testbed.errors import BadInput
from testbed.files.whole import writing
from testbed.files.yamlfile import nearest
from testbed.results.export.measured import Measured

FORMATS: Mapping[str, str] = MappingProxyType({  # to the module of each
    "csv": "tables",
    "aiperf": "aiperf",
    "vllm": "vllm",
    "perfetto": "perfetto",
    "otel": "otel",
})  # fmt: skip


def export(directory: Path, format_: str, out: Path | None = None) -> list[Path]:
    """Writes the files, and returns them. `out`: the folder; None: `exports/FORMAT` in the run's directory.

    Raises BadInput for what is no finished run, and MachineCannot where the format's library is not installed.
    """
    if format_ not in FORMATS:
        raise BadInput(f"export: no format {format_!r}{nearest(format_, FORMATS)}")
    writer = importlib.import_module(f"testbed.results.export.{FORMATS[format_]}")
    run = Measured.of(directory)
    folder = directory / "exports" / format_ if out is None else out
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return [*writer.write(run, folder)]
