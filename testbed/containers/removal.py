"""Removes the containers that a journal names: only those that carry the label of that very run.

Used by `testbed clean` and at the end of every run. The Docker SDK is needed only when there was a container.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from testbed.containers.engine import connect, explained, load_sdk
from testbed.containers.specification import RUN_LABEL
from testbed.errors import MachineCannot, NoEngine

if TYPE_CHECKING:
    from docker import DockerClient


def remove_named(entries: Sequence[str], run_id: str) -> tuple[list[str], list[MachineCannot]]:
    """`entries` are "ADDRESS NAME", as journalled. The names of those removed, and what kept others from it.

    Of an engine that does not answer there is one NoEngine for all its containers.
    """
    by_address: dict[str, list[str]] = {}
    for entry in entries:
        address, _, name = entry.rpartition(" ")
        by_address.setdefault(address, []).append(name)
    removed: list[str] = []
    failed: list[MachineCannot] = []
    for address, names in by_address.items():
        what = f"container{'s' if len(names) > 1 else ''} {', '.join(names)}"
        try:
            client = connect(address)
        except MachineCannot as error:
            failed.append(type(error)(f"{what} may still exist: {error}; run testbed clean"))
            continue
        try:
            for name in names:
                try:
                    removed += [name] if remove(client, name, run_id) else []
                except MachineCannot as error:
                    failed.append(error)
                    if isinstance(error, NoEngine):
                        break
        finally:
            client.close()
    return removed, failed


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
