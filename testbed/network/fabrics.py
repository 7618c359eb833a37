"""The fabrics by name."""

from __future__ import annotations

from testbed.network.dilated import in_virtual_time
from testbed.network.spec.fabric import Fabric, FabricName
from testbed.system.journal import Journal


def make_fabric(
    name: FabricName, run_id: str, journal: Journal, clock: str | None = None, dilation: float = 1.0
) -> Fabric:
    """Imports only the fabric that is used. `clock`: the page of the run's; None: the machine's.

    Whichever it is, its links are asked for, and said, in virtual time.
    """
    if name == "relay":
        from testbed.network.relay.fabric import RelayFabric

        return RelayFabric(run_id, journal, clock)
    return in_virtual_time(_of_a_kernel(name, run_id, journal), dilation)


def _of_a_kernel(name: FabricName, run_id: str, journal: Journal) -> Fabric:
    if name == "netem":
        from testbed.network.netem.fabric import NetemFabric

        return NetemFabric(run_id, journal)
    from testbed.network.lab.fabric import LabFabric

    return LabFabric(run_id, journal)
