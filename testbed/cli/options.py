"""What several verbs of the command line share: options, and where text goes."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


class Fabric(StrEnum):
    """`auto` takes netem if the kernel has it, else relay."""

    auto = "auto"
    netem = "netem"
    lab = "lab"
    relay = "relay"


class Engine(StrEnum):
    """Real models and sockets, or the same policies in virtual time from a decode table."""

    emulation = "emulation"
    simulation = "simulation"


class Nodes(StrEnum):
    """`auto` is process, unless `compute:` in the experiment needs containers."""

    auto = "auto"
    docker = "docker"
    process = "process"


NodesOption = Annotated[
    Nodes, typer.Option("--nodes", help="docker or process; auto: process, unless compute: needs containers.")
]
FabricOption = Annotated[Fabric, typer.Option("--fabric", help="How links are shaped; auto: netem, else relay.")]


def gain_privilege() -> None:
    """For verbs that make networks, first of all: an ordinary user goes on as root of a user namespace, and is told."""
    from testbed.system import userns

    before = userns.privilege()
    if userns.gain_privilege() != before:
        note("not root: continuing in a user namespace; see docs/without-root.md")


def console() -> Any:
    """For results, on stdout. Names from files are text: rich reads no markup in them."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def note(text: str) -> None:
    """For what is not a result, on stderr."""
    print(text, file=sys.stderr, flush=True)
