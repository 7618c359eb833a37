"""`python -m testbed.cli.reference` writes schemas/ and docs/reference in the current folder, a clone.

`--check` only says what is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from testbed.cli.reference import kept


def main(arguments: list[str]) -> int:
    root = Path.cwd()
    if not (root / "pyproject.toml").is_file():
        print("run this in a clone of the repository: it writes schemas/ and docs/reference", file=sys.stderr)
        return 2
    if arguments == ["--check"]:
        stale = kept.stale(root, kept.files())
        print("\n".join(f"stale: {path}; run `make docs`" for path in stale) or "up to date")
        return 1 if stale else 0
    print("\n".join(f"written: {path}" for path in kept.write(root, kept.files())) or "up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
