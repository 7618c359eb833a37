"""`topology show` and `topology diff`. Thin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.options import Json, topology_names
from testbed.cli.output import console, print_json, show, table

if TYPE_CHECKING:
    from testbed.network.spec.topology import Topology

PLAIN = 80  # columns of a map where nothing says a width
MOST_LINKS = 30  # that a diff prints
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or file of a topology.", autocompletion=topology_names)]


def show_topology(
    name: Name,
    svg: Annotated[Path | None, typer.Option("--svg", help="Draw both as an SVG file instead.")] = None,
    as_json: Json = False,
) -> None:
    """Show a topology: its map, round-trip times, source.

    On a terminal too narrow for the figures a character stands for each pair. Sites that are alike have one row.
    """
    from testbed.network.spec.topology import load_topology

    topology = load_topology(name)
    if svg is not None:
        _draw(topology, svg)
    elif as_json:
        print_json(topology.model_dump(mode="json", by_alias=True))
    else:
        _print(topology)


def _draw(topology: Topology, path: Path) -> None:
    from testbed.files.whole import check_file, replacing
    from testbed.report.worldsvg import drawing

    check_file(path, option="--svg")
    with replacing(path) as partial:
        partial.write_text(drawing(topology), encoding="utf-8")
    print(path)


def _print(topology: Topology) -> None:
    from testbed.report.worldmap import sites, text_map, text_matrix

    paper = console()
    fitted = paper.is_terminal or "COLUMNS" in os.environ
    found = sites(topology)
    print(f"{topology.name}: {topology.description}")
    for line in text_map(found, paper.width if fitted else PLAIN):
        print(line)
    print(f"\nround-trip times in ms, {topology.measured_on}")
    for line in text_matrix(topology, found, paper.width if fitted else None):
        print(line)
    for source in (topology.source, *topology.more_sources, *(line.source for line in topology.access.values())):
        kind = f", {source.kind.replace('_', ' ')}" if source.kind else ""
        print(f"source: {source.citation} ({source.licence}){kind}")
    if topology.mixed_kinds is not None:
        print(f"figures of several kinds: {topology.mixed_kinds}")


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A topology.", autocompletion=topology_names)],
    after: Annotated[str, typer.Argument(metavar="B", help="Another.", autocompletion=topology_names)],
    as_json: Json = False,
) -> None:
    """Compare the round-trip times of two topologies, link by link.

    The largest changes come first; --json has all of them.
    """
    from testbed.network.spec.topology import load_topology
    from testbed.network.spec.topologydiff import difference

    found = difference(load_topology(before), load_topology(after))
    if as_json:
        print_json(found.as_dict())
        return
    for line in found.summary():
        print(line)
    rows: list[dict[str, Any]] = [one.as_row() for one in found.links[:MOST_LINKS]]
    if rows:
        show(table("", rows))
    if len(found.links) > len(rows):
        print(f"{len(found.links) - len(rows)} links changed less; --json has all")
