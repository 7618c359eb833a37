"""The verbs about containers: `images build`, `images list`, `images daemon`. Thin, like `testbed.cli.main`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from testbed.cli.options import Json
from testbed.cli.output import note, print_json, show, table


class DaemonVerb(StrEnum):
    start = "start"
    stop = "stop"
    remove = "remove"


def add_to(app: typer.Typer) -> None:
    images = typer.Typer(help="Container images for nodes, and a private Docker daemon.")
    images.command("build")(build)
    images.command("list")(list_all)
    images.command("daemon")(control)
    images.command("engine", hidden=True, context_settings={"ignore_unknown_options": True})(renamed)
    app.add_typer(images, name="images", no_args_is_help=True)


def build(
    offline: Annotated[
        bool, typer.Option("--offline", help="Use the distribution's packages and the installed files; no registry.")
    ] = False,
    base: Annotated[
        str | None, typer.Option("--base", help="Base image to use instead; it must contain Python.")
    ] = None,
    light: Annotated[bool, typer.Option("--light", help="Only the images without PyTorch.")] = False,
) -> None:
    """Build the node images.

    Images that are up to date are not rebuilt. Nodes that run a model by transformers use those with PyTorch, all other
    nodes the small ones.
    """
    from testbed.containers.build import build as build_images
    from testbed.containers.engine import connect
    from testbed.errors import BadInput

    if offline and base is not None:
        raise BadInput("--base: the image comes from a registry; drop --base or --offline")
    for image in build_images(connect(), offline, note, base, light).values():
        print(f"{image.name} {image.digest}")


def list_all(as_json: Json = False) -> None:
    """List the node images, and whether they are up to date.

    An image is up to date if its code matches this installation.
    """
    from testbed.containers.engine import connect
    from testbed.containers.images import CODE, KINDS, code_key, find

    client, code = connect(), code_key()
    found = [image for kind in KINDS if (image := find(client, kind)) is not None]
    rows = [{**asdict(one), "up_to_date": CODE not in one.labels or one.labels[CODE] == code} for one in found]
    if as_json:
        print_json({"images": rows})
        return
    told = [
        {
            "image": row["name"],
            "digest": row["digest"][:19],
            "MB": f"{row['bytes'] / 1e6:.0f}",
            "code": "up to date" if row["up_to_date"] else "differs from this installation",
        }
        for row in rows
    ]
    show(table("images", told))


def control(
    verb: Annotated[DaemonVerb, typer.Argument(help="remove: stop it and delete all its data.")],
    install: Annotated[
        bool, typer.Option("--install", help="Install the docker.io package if dockerd is missing.")
    ] = False,
) -> None:
    """Start, stop or remove a private Docker daemon.

    For machines without one; no other daemon is touched.
    """
    from testbed.containers import daemon

    if verb is DaemonVerb.start:
        print("started" if daemon.start(install) else "already running")
    elif verb is DaemonVerb.stop:
        print("stopped" if daemon.stop() else "not running")
    else:
        daemon.remove()
        print("removed")


def renamed(words: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """The old name of `images daemon`."""
    from testbed.errors import BadInput

    raise BadInput(f"images engine: this command is now called `testbed images daemon {' '.join(words or ['VERB'])}`")
