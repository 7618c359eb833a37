"""`testbed images build`: base, drafter and verifier, from a registry or from nothing but this machine.

Every image carries a label over what it was made from; one that is up to date is left alone, so a second build takes
seconds. The Dockerfiles are in images/; this module only gathers what they copy.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from testbed.containers import images, installed, rootfs
from testbed.containers.engine import explained
from testbed.containers.installed import HEAVY, Package
from testbed.errors import BadInput, MachineCannot
from testbed.repository import folders

if TYPE_CHECKING:
    from docker import DockerClient

Note = Callable[[str], None]
Contents = Iterable[tuple[str, Path | bytes]]  # place in the build context, and what stands there
REGISTRY_ROOT = "python:{python}-slim"


def build(client: DockerClient, offline: bool, note: Note, root: str | None = None) -> dict[str, images.Image]:
    """All images, by kind. `root`: another image to start from, instead of the registry's Python."""
    packages = installed.packages()
    base = _base_offline(client, packages, note) if offline else _base_registry(client, packages, note, root)
    code = images.code_key()
    contents: Contents = [(f"code/testbed/{place}", path) for place, path in images.code_files()]
    made = {"base": base}
    for kind in images.NODE_IMAGES:
        dockerfile = _dockerfile(f"{kind}/Dockerfile")
        key = _key(base.digest, code, dockerfile)
        build = _Build(dockerfile, contents, {"BASE": base.digest}, {images.INPUTS: key, images.CODE: code})
        made[kind] = _unless_known(client, kind, key, note, build)
    return made


@dataclass(frozen=True)
class _Build:
    """What one image is built from; `network`: of the engine's, "none" where no command may reach a registry."""

    dockerfile: bytes
    contents: Contents
    arguments: dict[str, str]
    labels: dict[str, str]
    network: str = "none"


def _unless_known(
    client: DockerClient, kind: str, key: str, note: Note, what: _Build | Callable[[], _Build]
) -> images.Image:
    """The image if it was made from the same, else made anew. `what` may be a call, where it is much to gather."""
    image = images.find(client, kind)
    if image is not None and image.labels.get(images.INPUTS) == key:
        note(f"{image.name}: up to date")
        return image
    note(f"{images.tag(kind)}: building")
    _run(client, images.tag(kind), what if isinstance(what, _Build) else what(), note)
    image = images.find(client, kind)
    if image is None:
        raise MachineCannot(f"images build: the engine built {images.tag(kind)} and then did not have it")
    note(f"{image.name}: {image.digest[:19]}, {image.bytes / 1e6:.0f} MB with its base")
    return image


def _base_offline(client: DockerClient, packages: list[Package], note: Note) -> images.Image:
    fetched = rootfs.resolve()
    root_key, dockerfile = rootfs.key(fetched), _dockerfile("base/Dockerfile.offline")
    key = _key(root_key, dockerfile, *installed.UNUSED, *(one.record_sha256 for one in packages))

    def describe() -> _Build:
        root = _root(client, root_key, fetched, note)
        note(f"checking {len(packages)} packages against what was installed")
        for package in packages:
            installed.verify(package)
        return _Build(dockerfile, _offline_contents(packages), {"ROOT": root}, {images.INPUTS: key})

    return _unless_known(client, "base", key, note, describe)


def _base_registry(client: DockerClient, packages: list[Package], note: Note, root: str | None) -> images.Image:
    root = root or REGISTRY_ROOT.format(python=rootfs.python_version())
    heavy = [one for one in packages if one.name == HEAVY]
    rest = [one for one in packages if one.name != HEAVY]
    torch = "cpu" if heavy[0].version.endswith("+cpu") else "auto"
    dockerfile = _dockerfile("base/Dockerfile")
    contents: list[tuple[str, bytes]] = [
        ("torch.txt", installed.requirements(heavy).encode()),
        ("requirements.txt", installed.requirements(rest).encode()),
    ]
    key = _key(root, torch, dockerfile, *(text for _, text in contents))
    arguments = {"ROOT": root, "TORCH": torch}
    build = _Build(dockerfile, contents, arguments, {images.INPUTS: key}, network="default")
    return _unless_known(client, "base", key, note, build)


def _root(client: DockerClient, key: str, fetched: list[rootfs.Fetched], note: Note) -> str:
    """Name of the imported root file system."""
    name = images.tag("root")
    known = images.find(client, "root")
    if known is not None and known.labels.get(images.INPUTS) == key:
        return known.digest
    note(f"{name}: out of {len(fetched)} packages of the distribution")
    with tempfile.NamedTemporaryFile(prefix="wan-testbed-root.", suffix=".tar") as archive:
        rootfs.write_tar(fetched, Path(archive.name))
        repository, _, tag = name.rpartition(":")
        with explained(f"images build --offline: {name}"):
            client.api.import_image_from_file(
                archive.name, repository=repository, tag=tag, changes=[f"LABEL {images.INPUTS}={key}"]
            )
    found = images.find(client, "root")
    if found is None:
        raise MachineCannot(f"images build --offline: the engine imported {name} and then did not have it")
    return found.digest


def _offline_contents(packages: list[Package]) -> Iterator[tuple[str, Path]]:
    for package in packages:
        layer = "torch" if package.name == HEAVY else "lib"
        for place, path in package.files:
            yield f"{layer}/{place}", path


def _run(client: DockerClient, name: str, what: _Build, note: Note) -> None:
    """One build by the engine; its own last words when it fails."""
    with tempfile.TemporaryFile(prefix="wan-testbed-context.") as context:
        with explained(f"images build: {name}"):  # a full disk, too
            _write_context(context, what)
            context.seek(0)
            said = client.api.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs=what.arguments,
                labels=what.labels,
                network_mode=what.network,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for line in said:
                _listen(line, name, what, note)


def _listen(line: dict[str, Any], name: str, what: _Build, note: Note) -> None:
    if "error" in line:
        words = " ".join(str(line["error"]).split())
        mend = "" if what.network == "none" else "; testbed images build --offline needs no registry"
        raise MachineCannot(f"images build: {name} from {next(iter(what.arguments.values()))}: {words}{mend}")
    text = str(line.get("stream", "")).strip()
    if text.startswith("Step "):
        note(f"  {text}")


def _write_context(stream: IO[bytes], what: _Build) -> None:
    # an installer may have linked files to its cache: the context gets what they are
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as tar:
        for place, source in [("Dockerfile", what.dockerfile), *what.contents]:
            if isinstance(source, bytes):
                member = tarfile.TarInfo(place)
                member.size = len(source)
                tar.addfile(member, io.BytesIO(source))
                continue
            member = tar.gettarinfo(str(source), arcname=place)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            # readable by the user of the image, whoever owns it here
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            with source.open("rb") as file:
                tar.addfile(member, file)


def _dockerfile(name: str) -> bytes:
    looked = [folder / name for folder in folders("images")]
    for path in looked:
        if path.is_file():
            return path.read_bytes()
    raise BadInput(f"images build: no {name} in {', '.join(str(path.parent.parent) for path in looked)}")


def _key(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else part.encode()).digest())
    return digest.hexdigest()
