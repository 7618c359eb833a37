"""The verbs for a running network: `shell`, `pingall`. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.options import Fabric, FabricOption, gain_privilege, network_names
from testbed.cli.output import note

if TYPE_CHECKING:
    from testbed.network.spec.topology import Topology

What = Annotated[str, typer.Argument(help="Name or file of an experiment or a topology.", autocompletion=network_names)]


def add_to(app: typer.Typer) -> None:
    for verb in (shell, pingall):
        app.command()(verb)


def shell(
    what: What,
    fabric: FabricOption = Fabric.auto,
    command: Annotated[
        list[str] | None, typer.Option("--command", "-c", help="Run this command and exit with its status; repeatable.")
    ] = None,
) -> None:
    """Open Mininet's command line in an experiment's network.

    Of a topology it is a network with one node per region.
    """
    _in_network(what, fabric, command)


def pingall(what: What, fabric: FabricOption = Fabric.auto) -> None:
    """Bring up a network and ping between all of its nodes.

    It runs Mininet's pingallfull; exit status 3 if a ping was lost.
    """
    _in_network(what, fabric, ["pingallfull"])


def _in_network(what: str, fabric: Fabric, commands: list[str] | None) -> None:
    gain_privilege()
    from testbed.emulation.bare_network import standing
    from testbed.network.mininet.shell import interact, run_commands

    topology, placement = _network_of(what)
    note(f"bringing up {len(placement)} nodes")
    with standing("shell", topology, placement, fabric.value) as network:
        note(f"fabric {network.fabric_name}: {network.fabric_reason}")
        for reason in network.invalid_reasons():
            note(f"not as specified: {reason}")
        if commands is None:
            interact(network)
            return
        status = run_commands(network, commands)
    if status:
        raise typer.Exit(status)


def _network_of(what: str) -> tuple[Topology, dict[str, str]]:
    """Topology and placement: the experiment's nodes, or one node per region of a topology."""
    from testbed.experiment.document import load_scenario, read_document
    from testbed.experiment.timing import chosen, refuse_outsiders
    from testbed.files.named import EXPERIMENT, TOPOLOGY, is_path, known
    from testbed.network.spec.topology import load_topology

    path = Path(what) if is_path(what, TOPOLOGY) else known(EXPERIMENT).get(what)
    named = what in known(TOPOLOGY) or path is None or path.suffix not in (".yaml", ".yml")
    if path is not None and not named and "place" in read_document(path).data:
        scenario = load_scenario(path)
        refuse_outsiders(chosen(scenario.time), "testbed shell and testbed pingall")
        topology = scenario.network.applied_to(load_topology(scenario.topology))
        return topology, {name: site for name, (_, site) in scenario.place.nodes().items()}
    topology = load_topology(what)
    return topology, {region: region for region in topology.region_names}
