"""The image that the nodes' images start from, where it is a registry's: what the engine has by that name, else pulled.

Rule kept: builds start from its content, by its id, so a tag that moves is a change like any other; which image it was
stays readable in every image made from it, by the digest its registry serves it under.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from testbed.containers import images
from testbed.containers.engine import explained, load_sdk
from testbed.errors import MachineCannot

if TYPE_CHECKING:
    from docker import DockerClient

REFUSED = ("unauthorized", "denied", "no basic auth", "authentication required")  # engines' and registries' words
UNKNOWN = ("not found", "manifest unknown", "name unknown")


@dataclass(frozen=True)
class StartImage:
    """`identity`, its id, names its content; `digest` is REPOSITORY@DIGEST, where it came from a registry.

    An image may have several: the one it was asked for by, else one of that repository, else any.
    """

    name: str
    identity: str
    digest: str | None = None

    @property
    def origin(self) -> str:
        """For provenance."""
        return self.digest or f"{self.name} {self.identity}"


def obtain(client: DockerClient, name: str, note: Callable[[str], None]) -> StartImage:
    """The image of this name, pulled where the engine has none. Raises MachineCannot with the fix."""
    found = _find(client, name)
    if found is None and name.startswith("sha256:"):  # an id, which no registry knows
        raise MachineCannot(f"images build: Docker has no image {name}; name one with --base REPOSITORY@DIGEST")
    if found is None:
        note(f"{name}: pulling")
        _pull(client, name)
        found = _find(client, name)
    if found is None:
        raise MachineCannot(f"images build: the Docker daemon pulled {name}, which then was missing")
    return found


def _find(client: DockerClient, name: str) -> StartImage | None:
    shown = images.inspected(client, name)
    if shown is None:
        return None
    repository, digest = _repository(name), name.partition("@")[2]
    if digest:  # the engine found it by this, whatever else it is known by
        return StartImage(name, shown["Id"], f"{repository}@{digest}")
    served = sorted(shown.get("RepoDigests") or [])
    asked = [one for one in served if _repository(one) == repository]
    return StartImage(name, shown["Id"], next(iter(asked or served), None))


def _repository(name: str) -> str:
    """Without tag and digest, and as Docker shows it: `docker.io/library/python` is `python`."""
    folder, slash, last = name.partition("@")[0].rpartition("/")
    path = folder + slash + last.partition(":")[0]
    return path.removeprefix("index.docker.io/").removeprefix("docker.io/").removeprefix("library/")


def _pull(client: DockerClient, name: str) -> None:
    repository, tag = load_sdk().utils.parse_repository_tag(name)  # the tag may be a digest
    try:
        with explained(f"images build: {name} cannot be pulled"):
            for line in client.api.pull(repository, tag or "latest", stream=True, decode=True):
                if "error" in line:
                    raise OSError(line["error"])
    except MachineCannot as error:
        raise MachineCannot(f"{error}; {_fix(str(error).lower(), name)}") from error


def _fix(words: str, name: str) -> str:
    if any(one in words for one in REFUSED):
        registry = load_sdk().auth.resolve_repository_name(name)[0]
        return f"docker login {registry}, or choose another with --base IMAGE"  # registries hide what they do not have
    if any(one in words for one in UNKNOWN):
        return "choose another with --base IMAGE"
    return "choose another with --base IMAGE, or use --offline, which needs no registry"
