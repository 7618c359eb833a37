"""What several verbs of the command line share: options, and where text goes."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]


class Fabric(StrEnum):
    """`auto` takes netem where the kernel has it, else relay."""

    auto = "auto"
    netem = "netem"
    lab = "lab"
    relay = "relay"


class Engine(StrEnum):
    """Real models and sockets, or the same policies in virtual time from a decode table."""

    emulation = "emulation"
    simulation = "simulation"


FabricOption = Annotated[Fabric, typer.Option("--fabric", help="What shapes the links.")]


def console() -> Any:
    """For results, on stdout."""
    from rich.console import Console

    return Console()


def note(text: str) -> None:
    """For what is not a result, on stderr."""
    print(text, file=sys.stderr, flush=True)
