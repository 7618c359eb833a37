"""Prints every pinned package, one a line, and fails when the SBOM lacks one or names another version of it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(lock: str, setup: str) -> dict[str, str]:
    """Of requirements.lock, and PyTorch, whose version setup.sh has."""
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE))
    (torch,) = re.findall(r"^TORCH_VERSION=(\S+)", setup, re.MULTILINE)
    return {canonical(name): version for name, version in pins.items()} | {"torch": torch}


def differences(sbom: dict[str, list[dict[str, str]]], pins: dict[str, str]) -> list[str]:
    """The build of a version (+cpu) is not part of it."""
    there = {canonical(one["name"]): one["version"].partition("+")[0] for one in sbom["components"]}
    return [
        f"{name} {version} is locked, the SBOM has {there.get(name, 'none')}"
        for name, version in sorted(pins.items())
        if there.get(name) != version
    ]


def main(sbom: str, lock: str, setup: str) -> int:
    pins = pinned(Path(lock).read_text(), Path(setup).read_text())
    wrong = differences(json.loads(Path(sbom).read_text()), pins)
    for line in wrong:
        print(f"sbom: {line}", file=sys.stderr)
    print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items())))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
