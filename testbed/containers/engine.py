"""Finds the Docker daemon that answers; if none does, an error says what to do.

The Docker SDK is imported here and nowhere else, and only when containers are asked for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from testbed.errors import MachineCannot, NoEngine

if TYPE_CHECKING:
    from docker import DockerClient

SYSTEM_SOCKET = "unix:///var/run/docker.sock"
OWN_SOCKET = "unix:///run/wan-testbed-engine/docker.sock"  # of `testbed images daemon start`
CONNECTIONS = 32  # containers are made and started from several threads
TIMEOUT_S = 120.0  # of one call: an engine busy with a build answers late
LOOK_S = 5.0  # until an engine takes a connection, at the most
SDK_FIX = "pip install 'docker>=7.1'"


def addresses() -> list[str]:
    """Where an engine may listen, first choice first: what DOCKER_HOST names, or the system's and then our own."""
    named = os.environ.get("DOCKER_HOST")
    return [named] if named else [SYSTEM_SOCKET, OWN_SOCKET]


def connect(address: str | None = None) -> DockerClient:
    """A client of the engine at `address`, or of the first one that answers. Raises NoEngine, or MachineCannot."""
    docker = load_sdk()
    tried = []
    for one in [address] if address else addresses():
        try:
            client = docker.DockerClient(base_url=one, timeout=TIMEOUT_S, max_pool_size=CONNECTIONS)
            client.ping()
            return client
        except (docker.errors.DockerException, OSError) as error:
            tried.append(f"{one} ({_reason(error)})")
    raise NoEngine(
        f"containers: no Docker daemon answers at {' or '.join(tried)}; start Docker, or run as root: testbed images "
        "engine start"
    )


def answering() -> str | None:
    """Address of the engine that answers; None when there is none, or no SDK."""
    try:
        client = connect()
    except MachineCannot:
        return None
    address = address_of(client)
    client.close()
    return address


def address_of(client: DockerClient) -> str:
    """As `connect` takes it: the SDK turns a Unix socket's address into another form."""
    address: str = client.api.base_url
    return f"unix://{client.api.get_adapter(address).socket_path}" if address.startswith("http+docker") else address


def check(client: DockerClient) -> None:
    """Raises NoEngine when the engine takes no more connections. Costs it nothing."""
    address = address_of(client)
    if not address.startswith("unix://"):
        with explained("containers"):
            client.ping()
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(LOOK_S)
        try:
            probe.connect(address.removeprefix("unix://"))
        except OSError as error:
            raise _gone(error) from error


def facts(client: DockerClient) -> dict[str, Any]:
    """Provenance for the manifest."""
    with explained("containers: the Docker daemon does not identify itself"):
        version, info = client.version(), client.info()
    return {
        "engine": version["Version"],
        "api": version["ApiVersion"],
        "storage_driver": info["Driver"],
        "cgroup": f"v{info.get('CgroupVersion', '1')}, {info.get('CgroupDriver', 'unknown')}",
        "runtime": info.get("DefaultRuntime"),
    }


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns an error of the engine into MachineCannot in one line, into NoEngine where it does not answer."""
    docker = load_sdk()
    try:
        yield
    except docker.errors.DockerException as error:
        raise MachineCannot(f"{what}: {_reason(error)}") from error
    except OSError as error:  # of the connection to it
        raise _gone(error) from error


def _gone(error: OSError) -> NoEngine:
    reason = f"containers: the Docker daemon no longer answers ({_reason(error)})"
    return NoEngine(f"{reason}; start it again, then run testbed clean")


def load_sdk() -> Any:
    """The Docker SDK, or MachineCannot with its fix."""
    try:
        import docker
    except ImportError as error:
        raise MachineCannot(f"containers: the Docker SDK for Python is not installed; {SDK_FIX}") from error
    return docker


def _reason(error: BaseException) -> str:
    """The engine's own words, on one line; of a failed connection only what the system said."""
    said = getattr(error, "explanation", None) or str(error)
    if "Remote end closed" in said:  # http.client, as a tuple inside urllib3's words
        return "it closed the connection"
    for words in ("No such file or directory", "Connection refused", "Connection reset", "Permission denied"):
        if words in said:
            return words.lower()
    return " ".join(str(said).split())
