"""`testbed images build`: base, drafter and verifier, on an image with Python or on one made from nothing; then the
same with PyTorch on top of that base.

Every image carries a label over what it was made from; one that is up to date is left alone, so a second build takes
seconds. The Dockerfiles are in images/; this module only gathers what they copy. What they run needs no network.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from testbed.containers import images, installed, rootfs, startimage
from testbed.containers.engine import explained
from testbed.containers.installed import Package
from testbed.containers.startimage import StartImage
from testbed.errors import BadInput, MachineCannot
from testbed.files.datafiles import folders

if TYPE_CHECKING:
    from docker import DockerClient

Note = Callable[[str], None]
Contents = Iterable[tuple[str, Path | bytes]]  # place in the build context, and what stands there
REGISTRY_ROOT = "python:{python}-slim"
SCRIPTS = ("fits.py", "bytecode.py")  # of images/base: what the Dockerfiles run
PLACES = {"base": "lib", f"base{images.WITH_TORCH}": "torch"}  # of packages, by image
JUDGING = ("fits.py", "import ")  # in the steps of the base's Dockerfile that find out whether what is below does
STDERR = re.compile(r"\x1b\[91m(.*?)\x1b\[0m", re.DOTALL)  # how the engine shows what a command said there


def build(
    client: DockerClient, offline: bool, note: Note, root: str | None = None, light: bool = False
) -> dict[str, images.Image]:
    """All images, by kind. `root`: what to start from, instead of the registry's Python; `light`: none with PyTorch."""
    made = {"base": _base_offline(client, note) if offline else _base_on(client, root, note)}
    _add_nodes(client, made, "", note)
    if not light:
        made[f"base{images.WITH_TORCH}"] = _with_torch(client, made["base"], note)
        _add_nodes(client, made, images.WITH_TORCH, note)
    return made


def _add_nodes(client: DockerClient, made: dict[str, images.Image], variant: str, note: Note) -> None:
    """The kinds of node, on the base of this variant."""
    base, code = made[f"base{variant}"], images.code_key()
    contents: Contents = [(f"code/testbed/{place}", path) for place, path in images.code_files()]
    for kind in images.NODE_IMAGES:
        dockerfile = _from_images(f"{kind}/Dockerfile")
        key = _key(base.digest, code, dockerfile)
        build = _Build(dockerfile, contents, base.name, {"BASE": base.digest}, {images.INPUTS: key, images.CODE: code})
        made[f"{kind}{variant}"] = _unless_known(client, f"{kind}{variant}", key, note, build)


@dataclass(frozen=True)
class _Build:
    """What one image is built from. `on`: the image below it, as people call it; `fix`: where that does not do."""

    dockerfile: bytes
    contents: Contents
    on: str
    arguments: dict[str, str]
    labels: dict[str, str]
    fix: str = ""


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
        raise MachineCannot(f"images build: the Docker daemon built {images.tag(kind)}, which then was missing")
    note(f"{image.name}: {image.digest[:19]}, {image.bytes / 1e6:.0f} MB including its base")
    return image


def _base_offline(client: DockerClient, note: Note) -> images.Image:
    fetched = rootfs.resolve()
    key = rootfs.key(fetched)
    return _base(client, key, lambda: _root(client, key, fetched, note), note)


def _base_on(client: DockerClient, root: str | None, note: Note) -> images.Image:
    python = rootfs.python_version()
    start = startimage.obtain(client, root or REGISTRY_ROOT.format(python=python), note)
    note(f"starting from {start.origin}")
    fix = f"; --base takes an image with Python {python} and the GNU C and C++ libraries"
    return _base(client, _key(start.identity, start.origin), lambda: start, note, fix)


def _base(
    client: DockerClient, start_key: str, start: Callable[[], StartImage], note: Note, fix: str = ""
) -> images.Image:
    scripts = [(f"build/{name}", _from_images(f"base/{name}")) for name in SCRIPTS]

    def begin() -> tuple[StartImage, dict[str, str]]:
        image = start()
        return image, {"ROOT": image.identity, "PYTHON": rootfs.python_version()}

    keys = (start_key, rootfs.python_version())
    return _of_packages(client, "base", keys, scripts, installed.packages(), begin, note, fix)


def _with_torch(client: DockerClient, base: images.Image, note: Note) -> images.Image:
    packages = installed.heavy_packages(beside=installed.packages())
    below = StartImage(base.name, base.digest, base.labels.get(images.ORIGIN))
    begin = lambda: (below, {"BASE": base.digest})  # noqa: E731
    return _of_packages(client, f"base{images.WITH_TORCH}", (base.digest,), [], packages, begin, note)


def _of_packages(
    client: DockerClient,
    kind: str,
    below: Iterable[str],
    scripts: list[tuple[str, bytes]],
    packages: list[Package],
    begin: Callable[[], tuple[StartImage, dict[str, str]]],
    note: Note,
    fix: str = "",
) -> images.Image:
    """An image of Python packages on another one, which `begin` gives, with what its Dockerfile is told of it."""
    dockerfile = _from_images(f"{kind}/Dockerfile")
    files = [(f"{PLACES[kind]}/{place}", path) for package in packages for place, path in package.files]
    key = _key(
        *below,
        dockerfile,
        *(text for _, text in scripts),
        *(one.record_sha256 for one in packages),
        *(place for place, _ in files),
    )

    def describe() -> _Build:
        image, arguments = begin()
        note(f"checking {len(packages)} packages against the installed files")
        for package in packages:
            installed.verify(package)
        labels = {images.INPUTS: key, images.ORIGIN: image.origin}
        return _Build(dockerfile, [*scripts, *files], image.name, arguments, labels, fix)

    return _unless_known(client, kind, key, note, describe)


def _root(client: DockerClient, key: str, fetched: list[rootfs.Fetched], note: Note) -> StartImage:
    """The root file system, imported."""
    name = images.tag("root")
    known = images.find(client, "root")
    if known is not None and known.labels.get(images.INPUTS) == key:
        return StartImage(name, known.digest)
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
        raise MachineCannot(f"images build --offline: the Docker daemon imported {name}, which then was missing")
    return StartImage(name, found.digest)


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
                network_mode="none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            _listen(said, name, what, note)


def _listen(said: Iterable[dict[str, Any]], name: str, what: _Build, note: Note) -> None:
    """Passes the steps on. Raises MachineCannot with the engine's words, after the last of the command that failed."""
    step = last = ""
    for line in said:
        text = str(line.get("stream", ""))
        if text.startswith("Step "):
            step, last = text.strip(), ""
            note(f"  {step}")
        for words in STDERR.findall(text):
            last = words.strip().rpartition("\n")[2] or last
        if "error" in line:
            words = [one for one in (last, " ".join(str(line["error"]).split())) if one]
            fix = what.fix if " : RUN " in step and any(one in step for one in JUDGING) else ""
            raise MachineCannot(f"images build: {name} on {what.on}: {': '.join(words)}{fix}")


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


def _from_images(name: str) -> bytes:
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
