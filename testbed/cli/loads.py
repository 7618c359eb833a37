"""`testbed loads list`, `show` and `fit`: load profiles and traces. Thin; the shelf is added by `testbed.cli.main`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from testbed.cli.catalogue import Shelf
from testbed.cli.options import words
from testbed.cli.output import note, pairs, show, table

if TYPE_CHECKING:
    from testbed.workload.load.source import Load

COLUMNS = 72  # of the drawing
BLOCKS = " ▁▂▃▄▅▆▇█"
SHOWN = (1, 25, 50, 75, 90, 99)  # per cent of requests


class Loads(Shelf["Load"]):
    group = key = "loads"
    help = "Loads, of profiles and traces: list, show, fit."
    lists = "List the load profiles that `workload.load` can name."
    shows = """Show a load: requests over time, lengths, figures, source.

    Also of a trace's own file: Azure, BurstGPT, Mooncake, a folder of ServeGen, or CSV.
    """
    argument = "A load's name, or the file of a profile or of a trace."

    def names(self) -> Iterable[str]:
        from testbed.files.named import LOAD, known

        return known(LOAD)

    def find(self, name: str) -> Load:
        from testbed.workload.load.source import load_load

        return load_load(name)

    def row(self, thing: Load) -> dict[str, Any]:
        from testbed.workload.load.describe import rates

        per_s = rates(thing, 1)[0]
        return {"name": thing.name, "hours": round(thing.seconds / 3600, 2), "requests_per_s": round(per_s, 4)}

    def about(self, thing: Load) -> dict[str, Any]:
        from testbed.workload.load.describe import figures_of, lengths, rates

        return {
            **self.row(thing), **thing.as_manifest(), "figures": figures_of(thing), "lengths": lengths(thing, SHOWN),
            "requests_per_s_over_time": [round(one, 6) for one in rates(thing, COLUMNS)],
        }  # fmt: skip

    def show(self, thing: Load) -> None:
        from testbed.workload.load.describe import figures_of, lengths, rates

        over_time = rates(thing, COLUMNS)
        most = max(over_time)
        bar = "".join(BLOCKS[min(8, round(8 * one / most))] for one in over_time)
        print(f"{thing.name}: {thing.seconds / 3600:.4g} h, {rates(thing, 1)[0]:.4g} requests/s, at most {most:.4g}")
        print(f"\n{bar}\n0{f'{thing.seconds / 3600:.4g} h':>{COLUMNS - 1}}\n")
        rows = [{"tokens": side, **{f"p{share}": f"{tokens:.0f}" for share, tokens in of.items()}} for side, of in
                lengths(thing, SHOWN).items()]  # fmt: skip
        show(table("", rows))
        show(pairs("figures of the source", figures_of(thing)))
        about = thing.as_manifest()
        source = about.pop("source", None)
        for key, value in {**about, **(source or {})}.items():
            print(f"{key}: {value}")


def add_to(group: typer.Typer) -> None:
    group.command("fit")(fit)


def fit(
    trace: Annotated[Path, typer.Argument(metavar="FILE", help="A trace: Azure, BurstGPT, Mooncake, or CSV.")],
    out: Annotated[Path, typer.Option("--out", help="Profile to write (*.yaml).")],
    citation: Annotated[
        str, typer.Option("--citation", callback=words, help="What to cite for it.")
    ] = "own measurement",
    licence: Annotated[str, typer.Option("--licence", callback=words, help="Its licence.")] = "not stated",
) -> None:
    """Make a load profile of a trace.

    A profile is small and holds no request of the trace; what is drawn from it has the trace's figures.
    """
    from testbed.errors import BadInput
    from testbed.files.whole import check_file, write_new
    from testbed.workload.load.fit import distance, fitted
    from testbed.workload.load.text import profile_text

    if out.suffix != ".yaml":
        raise BadInput(f"--out {out}: a load profile is a .yaml file; give it that suffix")
    check_file(out)
    made = fitted(trace, citation, licence)
    write_new(out, profile_text(made))
    print(out)
    note(f"what is drawn is within {100 * distance(made):.0f} % of the trace's arrivals (testbed loads show {out})")
