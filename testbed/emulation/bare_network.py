"""A network brought up by itself, without an experiment in it: for `probe`, `shell` and `pingall`."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from testbed.containers.removal import remove_named
from testbed.emulation import means
from testbed.emulation.lock import machine_lock
from testbed.network.capabilities import FabricChoice
from testbed.network.network import Network
from testbed.network.spec.fabric import Pair
from testbed.network.spec.topology import Topology
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal


@contextmanager
def standing(
    purpose: str,
    topology: Topology,
    placement: Mapping[str, str],
    fabric: FabricChoice,
    used: Collection[Pair] | None = None,
) -> Iterator[Network]:
    """Up and measured inside the block, gone after it, whatever happens there. One at a time on a machine.

    `used`: as for `Network`.
    """
    run_id = f"{purpose}{secrets.token_hex(3)}"
    means.secure(means.of_network(len(placement)))
    with machine_lock():
        journal = Journal.for_run(run_id)
        try:
            with Network(topology, placement, fabric, run_id, journal, used=used) as network:
                yield network
        finally:
            with taking_down():
                journal.undo(remove_named)
                journal.close()
