"""A network brought up by itself, without an experiment in it: for `probe`, `shell`, `pingall` and `shaped_network`.

Names resolve in its nodes (`testbed.network.names`), since their programs are somebody else's.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from testbed.containers.removal import remove_named
from testbed.emulation import means
from testbed.emulation.lock import machine_lock
from testbed.network.capabilities import FabricChoice
from testbed.network.network import Network
from testbed.network.spec.fabric import FabricName, Pair
from testbed.network.spec.topology import Topology
from testbed.system.interrupt import taking_down
from testbed.system.journal import Journal


@contextmanager
def standing(
    purpose: str,
    topology: Topology,
    placement: Mapping[str, str],
    fabric: FabricChoice | tuple[FabricName, str],
    used: Collection[Pair] | None = None,
    quick: bool = False,
) -> Iterator[Network]:
    """Up and measured inside the block, gone after it, whatever happens there. One at a time on a machine.

    `fabric`: also one that was found before, and why. `used`, `quick`: as for `Network`.
    """
    run_id = f"{purpose}{secrets.token_hex(3)}"
    means.secure(means.of_network(len(placement)))
    with machine_lock():
        journal = Journal.for_run(run_id)
        try:
            names = journal.path.parent / "names"
            journal.directory(names)
            names.mkdir()
            with Network(
                topology, placement, fabric, run_id, journal, used=used, quick=quick, names=names / "hosts"
            ) as network:
                yield network
        finally:
            with taking_down():
                journal.undo(remove_named)
                journal.close()
