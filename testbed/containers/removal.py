"""Removes a container that a journal names: only if it carries the label of that very run.

Used by `testbed clean` and at the end of every run. The Docker SDK is needed only when there was a container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testbed.containers.engine import connect, explained, load_sdk
from testbed.containers.specification import RUN_LABEL
from testbed.errors import MachineCannot

if TYPE_CHECKING:
    from docker import DockerClient


def remove_named(entry: str, run_id: str) -> bool:
    """`entry` is "ADDRESS NAME", as journalled; whether there was something to remove.

    Raises MachineCannot when the engine does not answer: the journal then stays, for another try.
    """
    address, _, name = entry.rpartition(" ")
    try:
        client = connect(address)
    except MachineCannot as error:
        raise MachineCannot(f"container {name} may still exist: {error}; run testbed clean") from error
    try:
        return remove(client, name, run_id)
    finally:
        client.close()


def remove(client: DockerClient, name: str, run_id: str) -> bool:
    """Ends and removes the container of this name and run; False when there is none, or it is another program's."""
    docker = load_sdk()
    with explained(f"container {name}"):
        try:
            shown: dict[str, Any] = client.api.inspect_container(name)
            if (shown["Config"].get("Labels") or {}).get(RUN_LABEL) != run_id:
                return False
            client.api.remove_container(shown["Id"], force=True, v=True)
        except docker.errors.NotFound:
            return False
        except docker.errors.APIError as error:
            if error.status_code != 409:  # its removal is in progress already
                raise
    return True
