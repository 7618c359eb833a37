"""The lab fabric: the qdisc plan inside a User-Mode Linux kernel that switches between the nodes' namespaces.

Brings real netem to any kernel, and so checks the other fabrics. The egress device towards the node at position i is
`vec{i}`. Rules kept: those of netem.leaves, whose requests reach the guest's kernel through `netlink`; so read_back
and counters are what that kernel says. The rate stage stands on the nodes' own eth0, in the host's kernel.
"""

from __future__ import annotations

import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.network.lab.kernel import LabKernel, missing_parts
from testbed.network.lab.ports import SwitchPorts
from testbed.network.netem.leaves import NetemLeaves
from testbed.network.netem.plan import check_links, downlink_lines, plan_downlinks, undelayed
from testbed.network.netem.rate_stages import RateStages
from testbed.network.netem.shaping import Shaping
from testbed.network.spec.fabric import Counters, FabricName, Link, Port
from testbed.system.journal import Journal
from testbed.system.processes import ending

QUEUE_PACKETS = 10_000  # of each vector device: a burst out of netem waits for the socket


class LabFabric:
    """Carries packets between all nodes through one guest kernel."""

    name: FabricName = "lab"

    def __init__(self, run_id: str, journal: Journal) -> None:
        self._run_id = run_id
        self._journal = journal
        self._ports: tuple[Port, ...] = ()
        self._switch: SwitchPorts | None = None
        self._kernel: LabKernel | None = None
        self._job: Path | None = None
        self._boot_s = 0.0
        self._shaping: Shaping | None = None

    def attach(self, ports: Sequence[Port]) -> None:
        if fixes := missing_parts():
            raise MachineCannot(f"lab: parts are missing; fix: {'; '.join(fixes)}")
        self._ports = tuple(ports)
        try:
            self._switch = SwitchPorts(ports)
            self._kernel = self._boot(self._switch)
            self._shaping = Shaping(self._plant(self._kernel), RateStages(self.name, ports))
            self.shape(undelayed(ports))
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        self._attached().prepare(check_links(self._ports, links))()

    def change(self, links: Sequence[Link]) -> None:
        self.prepare(links)()

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        return self._attached().prepare(check_links(self._ports, links, complete=False))

    def read_back(self) -> dict[tuple[str, str], float]:
        return self._attached().leaves.read_back()

    def counters(self) -> Counters:
        return self._attached().counters()

    def facts(self) -> dict[str, object]:
        kernel = self._kernel
        return {
            "fabric": self.name,
            "kernel": platform.release(),
            "shaper": "htb and netem in a User-Mode Linux kernel",
            "guest_kernel": kernel.ask("uname -r") if kernel else None,
            "tc": kernel.ask("tc -V") if kernel else None,
            "priority": kernel.priority if kernel else None,
            "processors": kernel.processors if kernel else None,
            "seed": self._run_id if self._shaping and self._shaping.leaves.takes_seeds else None,
            "boot_s": round(self._boot_s, 3),
        }

    def died(self) -> str | None:
        status = self._kernel.status if self._kernel else None
        return None if status is None else f"its guest kernel {ending(status)}"

    def detach(self) -> None:
        kernel, self._kernel = self._kernel, None
        if kernel:
            kernel.stop()
        switch, self._switch = self._switch, None
        if switch:
            switch.close()  # the nodes' eth0 go with it, and the rate stages with them
        self._shaping = None
        job, self._job = self._job, None
        if job:
            shutil.rmtree(job, ignore_errors=True)

    def _boot(self, switch: SwitchPorts) -> LabKernel:
        started = time.monotonic()
        self._job = Path(tempfile.gettempdir()) / f"wan-testbed-lab-{self._run_id}-{secrets.token_hex(4)}"
        self._journal.directory(self._job)
        self._job.mkdir(mode=0o700)
        kernel = LabKernel(self._job, switch.sockets, bridge_files(switch.hardware), self._journal)
        self._kernel = kernel  # so that detach ends it should the boot fail
        kernel.wait_until_booted()
        self._boot_s = time.monotonic() - started
        return kernel

    def _plant(self, kernel: LabKernel) -> NetemLeaves:
        """Builds the qdisc tree of every downlink."""
        device = {port.node: f"vec{index}" for index, port in enumerate(self._ports)}
        downlinks = plan_downlinks(self._ports, lambda port: device[port.node])
        kernel.tc(downlink_lines(downlinks))
        numbers = kernel.ask(f"cat {' '.join(f'/sys/class/net/{name}/ifindex' for name in device.values())}").split()
        indexes = {node: int(number) for node, number in zip(device, numbers, strict=True)}
        return NetemLeaves(self.name, kernel, self._ports, indexes, self._run_id)

    def _attached(self) -> Shaping:
        if self._shaping is None:
            raise RuntimeError("the lab fabric is not attached")
        return self._shaping


def bridge_files(hardware: Sequence[bytes]) -> dict[str, str]:
    """Batch files for the guest: a bridge that knows every node's address and neither learns nor floods unicast.

    Broadcasts are flooded, so that what tries to travel without a link ends, counted, in a catch-all class.
    """
    links = ["link add name br0 type bridge mcast_snooping 0", "link set dev br0 up"]
    neighbours = []
    for index, address in enumerate(hardware):
        links += [f"link set dev vec{index} master br0", f"link set dev vec{index} txqueuelen {QUEUE_PACKETS} up"]
        neighbours += [
            f"link set dev vec{index} learning off flood off",
            f"fdb add {address.hex(':')} dev vec{index} master static",
        ]
    return {"links": "\n".join(links) + "\n", "neighbours": "\n".join(neighbours) + "\n"}
