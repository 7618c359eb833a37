"""What several verbs of the command line share: arguments and options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.output import note


def experiment_file(text: str) -> Path:
    """An experiment by name or path; says which file was taken where another has the name too."""
    from testbed.files.named import EXPERIMENT, experiment, told

    path = experiment(text)
    if str(path) != text and (line := told(text, EXPERIMENT, Path())):
        note(line)
    return path


def experiment_names(incomplete: str) -> list[str]:
    """For Tab; where none begins like this, the shell offers files."""
    from testbed.files.named import EXPERIMENT, known

    return [name for name in known(EXPERIMENT) if name.startswith(incomplete)]


def topology_names(incomplete: str) -> list[str]:
    """The same."""
    from testbed.files.named import TOPOLOGY, known

    return [name for name in known(TOPOLOGY) if name.startswith(incomplete)]


def network_names(incomplete: str) -> list[str]:
    """Of both, for verbs that take the network of either."""
    return [*topology_names(incomplete), *experiment_names(incomplete)]


Experiment = Annotated[
    Path,
    typer.Argument(
        parser=experiment_file,
        metavar="EXPERIMENT",
        help="An experiment's name, quickstart, or its file.",
        autocompletion=experiment_names,
    ),
]


def words(text: str | None) -> str | None:
    """For options whose words go into a file. BadInput for bytes that are no UTF-8."""
    from testbed.errors import BadInput

    if text is not None and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                f"{text.encode('utf-8', 'backslashreplace').decode()}: is not UTF-8 text; write it so"
            ) from error
    return text


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
