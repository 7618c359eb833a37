"""The verbs about what lies in a folder of runs: `runs list`, `runs prune`. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Json
from testbed.cli.output import print_json
from testbed.errors import BadInput

Out = Annotated[Path, typer.Option("--out", help="Folder with runs.")]


def add_to(app: typer.Typer) -> None:
    runs = typer.Typer(help="Runs in a folder: list, prune those without a result.", no_args_is_help=True)
    runs.command("list")(show)
    runs.command("prune")(prune)
    app.add_typer(runs, name="runs")


def show(out: Out = Path("runs"), as_json: Json = False) -> None:
    """List runs: finished, in progress and unfinished.

    Unfinished ones are those whose process ended without a result.
    """
    from testbed.results.attempts import find

    found = find(out)
    if as_json:
        print_json({"runs": [one.as_dict() for one in found]})
        return
    if not found:
        print(f"no runs in {out}")
        return
    for one in found:
        since = "" if one.started is None else f"since {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.started))}"
        more = {None: f"{since}, process {one.process}" if since else "", True: "valid", False: "NOT VALID"}[one.valid]
        print(f"{one.state:12} {one.path}  {more}".rstrip())


def prune(
    out: Out = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what attempts without a result left.

    These are folders and logs; finished runs are kept.
    """
    from testbed.results import attempts

    if not out.is_dir():
        raise BadInput(f"--out {out}: no such folder")
    ended = attempts.unfinished(out)
    removed = ended if dry_run else [one for one in ended if attempts.prune(one)]
    if as_json:
        print_json({"removed": [one.as_dict() for one in removed]})
        return
    for one in removed:
        print(f"{'would remove' if dry_run else 'removed'} {one.path}")
    if not removed:
        print("nothing to prune")
