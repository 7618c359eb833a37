"""Where the project's own data files lie: topologies, workloads, experiments.

Looked for beside the caller, in the source checkout, and where a wheel installs them, in this order.
"""

from __future__ import annotations

import sys
from pathlib import Path


def folders(kind: str) -> list[Path]:
    """Folders that may hold files of `kind` ("topologies", "workloads/prompts", "experiments")."""
    return [
        Path(kind),
        Path(__file__).resolve().parents[1] / kind,
        Path(sys.prefix) / "share" / "wan-testbed" / kind,
    ]


def available(kind: str, suffix: str) -> dict[str, Path]:
    """Files of `kind` by name without suffix; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob(f"*{suffix}")):
            found.setdefault(path.name.removesuffix(suffix), path)
    return found
