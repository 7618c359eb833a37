"""The images of the nodes: their names, what they were made from, and whether they fit the code that runs.

There are two of each kind of node: a small one for nodes whose models are mapped, and one with PyTorch for the others.

Rule kept: a run uses only images whose code is, byte for byte, the nodes' code of the testbed that starts them. What an
image was made from stands in its labels, so the question costs one call. Needs no image to exist.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.containers.engine import explained, load_sdk
from testbed.errors import MachineCannot
from testbed.files.datafiles import PACKAGE, VERSION

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "wan-testbed"
TAG = VERSION
INPUTS = "org.wan-testbed.inputs"  # sha256 over everything an image was made from
CODE = "org.wan-testbed.code"  # sha256 over the package's own files
ORIGIN = "org.wan-testbed.origin"  # the image that everything starts from
ROLES = {"target": "verifier", "drafter": "drafter", "user": "drafter"}  # a user's own device may draft
NODE_IMAGES = ("drafter", "verifier")
WITH_TORCH = "-torch"  # after the kind
KINDS = ("root", "base", *NODE_IMAGES, f"base{WITH_TORCH}", *(f"{kind}{WITH_TORCH}" for kind in NODE_IMAGES))
# what a node's program imports (tests/containers/test_images.py); engine, network, reports and sweeps stay outside
NODE_CODE = ("__init__.py", "errors.py", "clock", "decoding", "files", "models", "nodes", "policies",
             "results/__init__.py", "results/records.py", "system", "wire", "workload")  # fmt: skip
LEFT_OUT = ("models/pairs/",)  # models are mounted


@dataclass(frozen=True)
class Image:
    """One image as the engine has it. `digest` names its content; `user` is "uid:gid"."""

    name: str
    digest: str
    user: str
    bytes: int
    labels: dict[str, str]

    def as_manifest(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "digest": self.digest,
            "code_sha256": self.labels.get(CODE),
            "origin": self.labels.get(ORIGIN),
        }


def tag(kind: str) -> str:
    """Full name of an image: `wan-testbed/drafter:VERSION`."""
    return f"{REPOSITORY}/{kind}:{TAG}"


def find(client: DockerClient, kind: str) -> Image | None:
    """The image as the engine has it, if it does."""
    name = tag(kind)
    shown = inspected(client, name)
    if shown is None:
        return None
    config = shown["Config"]
    return Image(name, shown["Id"], config.get("User") or "0:0", int(shown["Size"]), config.get("Labels") or {})


def inspected(client: DockerClient, name: str) -> dict[str, Any] | None:
    """The engine's account of any image; None when it has none of this name."""
    docker = load_sdk()
    with explained(f"image {name}"):
        try:
            shown: dict[str, Any] = client.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            return None
    return shown


def for_roles(client: DockerClient, roles: set[str], torch: bool = False) -> dict[str, Image]:
    """The image of each role, with PyTorch or without. Raises MachineCannot when one is missing or holds other code."""
    code, images = code_key(), {}
    kinds = {role: f"{ROLES[role]}{WITH_TORCH}" if torch else ROLES[role] for role in roles}
    for kind in sorted(set(kinds.values())):
        image = find(client, kind)
        if image is None:
            wanted_for = ", which a node that runs a model by transformers needs" if torch else ""
            raise MachineCannot(
                f"nodes docker: there is no image {tag(kind)}{wanted_for}; run: testbed images build --offline"
            )
        if image.labels.get(CODE) != code:
            raise MachineCannot(
                f"nodes docker: the image {image.name} was built from other code than this installation; run: "
                "testbed images build --offline"
            )
        images[kind] = image
    return {role: images[kind] for role, kind in kinds.items()}


def code_files() -> list[tuple[str, Path]]:
    """What a node runs of this package, by place in the package."""
    found = {}
    for name in NODE_CODE:
        for path in [PACKAGE / name, *(PACKAGE / name).rglob("*")]:
            place = path.relative_to(PACKAGE).as_posix()
            if path.is_file() and path.suffix != ".pyc" and not place.startswith(LEFT_OUT):
                found[place] = path
    return sorted(found.items())


def code_key() -> str:
    digest = hashlib.sha256()
    for place, path in code_files():
        digest.update(f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
