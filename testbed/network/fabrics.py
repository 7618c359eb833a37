"""The fabrics by name."""

from __future__ import annotations

from testbed.network.spec.fabric import Fabric, FabricName
from testbed.system.journal import Journal


def make_fabric(name: FabricName, run_id: str, journal: Journal, clock: str | None = None) -> Fabric:
    """Imports only the fabric that is used. `clock`: the page of the run's; None: the machine's."""
    if name == "netem":
        from testbed.network.netem.fabric import NetemFabric

        return NetemFabric(run_id, journal)
    if name == "relay":
        from testbed.network.relay.fabric import RelayFabric

        return RelayFabric(run_id, journal, clock)
    from testbed.network.lab.fabric import LabFabric

    return LabFabric(run_id, journal)
