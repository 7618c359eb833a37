"""Where the project's own files are: the package, topologies, workloads, experiments. And its version.

Data files are looked for beside the caller, in the source checkout, and where a wheel installs them, in this order.
"""

from __future__ import annotations

import sys
from pathlib import Path

VERSION = "0.1.0"
PACKAGE = Path(__file__).resolve().parents[1]


def folders(kind: str) -> list[Path]:
    """Folders that may hold files of `kind` ("topologies", "workloads/prompts", "experiments")."""
    return [
        Path(kind),
        PACKAGE.parent / kind,
        Path(sys.prefix) / "share" / "wan-testbed" / kind,
    ]


def available(kind: str, suffix: str, deep: bool = False) -> dict[str, Path]:
    """Files of `kind` by name without suffix; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob(f"**/*{suffix}" if deep else f"*{suffix}")):
            found.setdefault(path.relative_to(folder).as_posix().removesuffix(suffix), path)
    return found
