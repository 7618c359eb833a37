"""The verbs about files that people write: `init`, `schema`, `validate`. Thin; added by `testbed.cli.main`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Json
from testbed.cli.output import note, print_json
from testbed.errors import BadInput

EXPERIMENT, SCHEMA = "experiment.yaml", "experiment.schema.json"  # what `init` writes
TEMPLATE = Path(__file__).with_name(EXPERIMENT)


def add_to(app: typer.Typer) -> None:
    for verb in (init, validate, schema):
        app.command()(verb)


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")] = Path(),
) -> None:
    """Write a small experiment with comments, to change and run.

    Writes experiment.yaml, and experiment.schema.json, with which editors complete and check its keys. Nothing is
    overwritten.
    """
    from testbed.cli.reference.schemas import installed, text
    from testbed.files.reading import read_text
    from testbed.files.whole import check_folder, write_new

    check_folder(folder, option="init")
    there = [name for name in (EXPERIMENT, SCHEMA) if (folder / name).exists()]
    if there:
        raise BadInput(f"{folder / there[0]}: is there already and is not overwritten; choose another folder")
    write_new(folder / SCHEMA, text(installed("experiment")))
    write_new(folder / EXPERIMENT, read_text(TEMPLATE))
    print(folder / EXPERIMENT)
    note(f"next: testbed validate {folder / EXPERIMENT}")
    note(f"      testbed run {folder / EXPERIMENT} --engine simulation   # in virtual time, seconds")
    note(f"      testbed run {folder / EXPERIMENT}                       # real models, shaped links, about a minute")


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files, also FILE.py:NAME.")],
    as_json: Json = False,
) -> None:
    """Say what is wrong with files, before anything is run.

    A file may be an experiment or a sweep (with all that it names), a topology, device profile, prompt set, RTT trace,
    decode table, controller, or the claims of a paper; which of these is told by its content. FILE.py:NAME is a policy
    or a Mininet Topo, whose file is executed. Exit status 2 if anything is wrong.
    """
    from testbed.cli.reference.validation import check

    found = [check(one) for one in files]
    valid = not any(one.mistakes for one in found)
    if as_json:
        print_json({"valid": valid, "files": [one.as_dict() for one in found]})
    for one in found:
        for line in one.mistakes:
            note(f"testbed: {line}")
        if not one.mistakes and not as_json:
            print(f"{one.file}: valid {one.kind} ({one.holds})")
    if not valid:
        raise typer.Exit(BadInput.exit_code)


def schema(
    kind: Annotated[str | None, typer.Argument(help="Kind of file; not given: they are listed.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder: write KIND.json there, or all of them.")] = None,
) -> None:
    """Print the JSON schema of a kind of file.

    With the policies that are installed beside the testbed's own. An editor with a YAML language server uses the file
    that the first line of a YAML file names: `# yaml-language-server: $schema=experiment.json`.
    """
    from testbed.cli.reference.schemas import ALL, installed, text
    from testbed.files.whole import check_folder, replacing
    from testbed.files.yamlfile import nearest, said

    if kind is not None and kind not in ALL:
        raise BadInput(f"schema: no kind of file {said(kind)}{nearest(kind, ALL)}")
    if out is None:
        print("\n".join(ALL) if kind is None else text(installed(kind)), end="\n" if kind is None else "")
        return
    check_folder(out)
    for one in ALL if kind is None else (kind,):
        with replacing(out / f"{one}.json") as partial:
            partial.write_text(text(installed(one)), encoding="utf-8")
        print(out / f"{one}.json")
