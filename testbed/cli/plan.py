"""The verb `plan`: what an emulated run will be like on this machine. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Experiment, Fabric, FabricOption, Json, Nodes, NodesOption, gain_privilege
from testbed.cli.output import note, pairs, print_json, show, table
from testbed.errors import MachineCannot


def add_to(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    experiment: Experiment,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as for run")] = None,
    fabric: FabricOption = Fabric.auto,
    nodes: NodesOption = Nodes.auto,
    out: Annotated[Path, typer.Option("--out", help="Folder for what a plan that fails leaves.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Say what an emulated run will be like on this machine.

    Brings everything up, runs a pilot of each policy and takes everything down: dilation, wall time, whether the run
    will be valid, and why. Exit status 4, with what to change, where it will not be.
    """
    gain_privilege()
    from testbed.emulation import engine
    from testbed.experiment.document import read_experiment
    from testbed.experiment.progress import Silent
    from testbed.results.forecast import duration

    document = read_experiment(experiment, overrides or [])
    for line in document.choices():
        note(line)
    told = _Notes()
    found = engine.plan(
        document.scenario(), engine.Options(fabric.value, out, nodes=nodes.value), Silent() if as_json else told
    )
    if as_json:
        print_json({"experiment": document.scenario().name, **found})
    else:
        machine = found["machine"]
        show(
            table("real time by emulated time, 99.7 % in `most`", found["needs"]),
            pairs(
                "",
                {
                    "dilation": found["dilation"],
                    "why": found["why"],
                    "wall time": None if found["wall_s"] is None else duration(found["wall_s"]),
                    "of it requests": None if found["requests_s"] is None else duration(found["requests_s"]),
                    "clock held for": f"{found['held_share']:.1%}",
                    "passes late": f"{found['late_share']:.1%}",
                    "cores": f"{machine['busy_cores']:.1f} of {machine['cores']}, {machine['others_cores']:.1f} others",
                    "memory, MB": machine["memory_mb"],
                    "valid": found["valid"],
                },
            ),
        )
    if not found["valid"]:
        raise MachineCannot(f"plan: {found['fix'] or found['reasons'][0]}")


class _Notes:
    """A watcher that prints notes."""

    def note(self, text: str) -> None:
        note(text)

    def phase(self, label: str, repeat: int, requests: int) -> None:
        pass

    def request_done(self, tokens: int) -> None:
        pass
