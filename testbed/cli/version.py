"""`testbed --version`: the versions a report of a problem needs, without importing what they are of."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

LIBRARIES = ("torch", "transformers")


def version_line() -> str:
    """`testbed 0.1.0 (Python 3.11.2, torch 2.13.0, transformers 5.23.0)`."""
    from testbed.files.datafiles import VERSION

    found = ", ".join(f"{name} {installed(name) or 'not installed'}" for name in LIBRARIES)
    return f"testbed {VERSION} (Python {platform.python_version()}, {found})"


def installed(package: str) -> str | None:
    """The version of a distribution, by its metadata."""
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _say(asked: bool) -> None:
    if asked:
        print(version_line())
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Show the versions of testbed, Python and the libraries.", callback=_say, is_eager=True
    ),
]
