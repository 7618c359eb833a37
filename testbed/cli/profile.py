"""The verb about how fast models run here: `models profile`. Thin."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Json
from testbed.cli.output import note, print_json


class Accelerator(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


def add_to(app: typer.Typer) -> None:
    app.command("profile")(profile)


def profile(
    model: Annotated[str, typer.Argument(help="Shipped name, folder, or Hugging Face name.")],
    out: Annotated[Path, typer.Option("--out", help="Profile to write (*.yaml), for use under devices:.")],
    accelerator: Annotated[Accelerator, typer.Option("--accelerator", help="Where the model runs.")] = Accelerator.cpu,
    device: Annotated[str | None, typer.Option("--device", hidden=True)] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads; nodes use one.")] = 1,
    max_pass_tokens: Annotated[
        int, typer.Option("--max-pass-tokens", min=1, help="Longest forward pass to time, in tokens.")
    ] = 256,
    varies: Annotated[bool, typer.Option("--varies", help="Also write down how passes vary, as quantiles.")] = False,
    as_json: Json = False,
) -> None:
    """Time a model on this machine; write a device profile."""
    from testbed.errors import BadInput
    from testbed.files.whole import check_file
    from testbed.models.nativeprofile import measure, write

    if device is not None:
        raise BadInput(f"--device: this option is now called `--accelerator {device}`")
    if out.suffix != ".yaml":
        raise BadInput(f"--out {out}: a profile is a .yaml file; give it that suffix")
    check_file(out)
    measured = measure(model, accelerator.value, threads, max_pass_tokens, note, varies)
    write(measured, out)
    if as_json:
        print_json({"file": str(out), **measured.model_dump(mode="json")})
    else:
        print(f"written: {out}")
