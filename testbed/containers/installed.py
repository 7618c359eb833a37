"""The Python packages a node needs, taken from the environment that is running: no registry, and the same bytes.

What belongs to a package is what its RECORD lists; a file that is not as recorded is refused, so an image holds
what was installed and nothing that happened to lie there. Needs no engine.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata as metadata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from testbed.errors import MachineCannot
from testbed.nodes.packages import MORE, OURS, needed

# compiled against, never run: headers, build files, test programs
UNUSED = ("torch/include/", "torch/share/", "torch/test/")


@dataclass(frozen=True)
class Package:
    """One installed distribution: where each of its files goes, and where it lies."""

    name: str
    version: str
    files: tuple[tuple[PurePosixPath, Path], ...]
    record_sha256: str


def packages(roots: Iterable[str] | None = None, beside: Iterable[Package] = ()) -> list[Package]:
    """The roots, which are what every node needs if not given, and everything they require, by name; without `beside`.

    Raises MachineCannot for one that is missing.
    """
    found = {name: _package(one) for name, one in _closure(needed() if roots is None else roots).items()}
    there = {one.name for one in beside}
    return [found[name] for name in sorted(found) if found[name].name not in there]


def heavy_packages(beside: Iterable[Package]) -> list[Package]:
    """What nodes that load a model by transformers need more than every node has."""
    return packages(MORE, beside)


def verify(package: Package) -> None:
    """Raises MachineCannot when a file is missing or is not what was installed."""
    files = dict(package.files)
    for recorded in metadata.distribution(package.name).files or ():
        path = files.get(PurePosixPath(recorded))
        if path is None or recorded.hash is None or recorded.hash.mode != "sha256":
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != recorded.hash.value:
            raise MachineCannot(
                f"images: {path} differs from the installed {package.name} {package.version}; run: pip install "
                f"--force-reinstall --no-deps {package.name}=={package.version}"
            )


def _closure(roots: Iterable[str]) -> dict[str, metadata.Distribution]:
    """With what a requirement asks for in brackets: the CUDA build of PyTorch names its libraries in this way."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, metadata.Distribution] = {}
    followed: set[tuple[str, str]] = set()  # distribution and extra, "" for what it always requires
    waiting = [(canonicalize_name(root), "") for root in roots]
    while waiting:
        name, extra = one = waiting.pop()
        if one in followed or name == OURS:  # its code goes in by itself, for it changes most often
            continue
        followed.add(one)
        try:
            found[name] = found.get(name) or metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise MachineCannot(f"images: the package {name} is not installed; run ./setup.sh") from error
        for text in found[name].requires or ():
            required = Requirement(text)
            if required.marker is None or required.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(required.name), wanted) for wanted in ("", *sorted(required.extras))]
    return found


def _package(one: metadata.Distribution) -> Package:
    name = one.metadata["Name"]
    record = one.read_text("RECORD")
    if record is None:
        raise MachineCannot(f"images: {name} was not installed by pip, so its files are unknown; reinstall it")
    return Package(name, one.version, tuple(_files(one)), hashlib.sha256(record.encode()).hexdigest())


def _files(one: metadata.Distribution) -> Iterator[tuple[PurePosixPath, Path]]:
    for recorded in one.files or ():
        place = PurePosixPath(recorded)
        if ".." in place.parts or place.is_absolute() or str(place).startswith(UNUSED) or place.suffix == ".a":
            continue  # scripts beside the environment's Python, and what is only compiled against
        if "__pycache__" in place.parts:
            continue  # made by the installer, and recorded without a hash: an image makes its own
        path = Path(str(one.locate_file(recorded)))
        if not path.is_file():
            raise MachineCannot(f"images: {path} of the package {one.metadata['Name']} is missing; reinstall it")
        yield place, path
