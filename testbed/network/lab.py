"""The lab fabric: the qdisc plan inside a User-Mode Linux kernel that switches between the nodes' namespaces.

Brings real netem to any kernel, and so checks the other fabrics. The egress device towards the node at position i is
`vec{i}`. Rules kept: a changed leaf gets its full state under its old handle, so packets in flight stay; read_back and
counters come from tc inside the guest. The rate stage stands on the nodes' own eth0, in the host's kernel.
"""

from __future__ import annotations

import json
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from testbed.errors import MachineCannot
from testbed.network.fabric import Counters, FabricName, Link, Port
from testbed.network.journal import Journal
from testbed.network.lab_kernel import LabKernel, missing_parts
from testbed.network.lab_ports import SwitchPorts, run_in_node
from testbed.network.plan import (
    CATCH_ALL,
    FIRST_CLASS,
    UNLIMITED_BPS,
    Uplink,
    downlink_lines,
    plan_downlinks,
    plan_uplinks,
    undelayed,
    uplink_lines,
)

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
        self._in_force: frozenset[str] = frozenset()
        self._uplinks: dict[str, Uplink] = {}  # the rate stages that stand, by sender

    def attach(self, ports: Sequence[Port]) -> None:
        if mends := missing_parts():
            raise MachineCannot(f"lab: parts are missing; mend: {'; '.join(mends)}")
        self._ports = tuple(ports)
        try:
            self._switch = SwitchPorts(ports)
            self._kernel = self._boot(self._switch)
            self._carry_out(undelayed(ports), "add")
        except BaseException:
            self.detach()
            raise

    def shape(self, links: Sequence[Link]) -> None:
        self._carry_out(links, "change")

    def read_back(self) -> dict[tuple[str, str], float]:
        return {
            (src.node, dst.node): round(qdisc["options"].get("delay", {"delay": 0})["delay"] * 1000, 3)
            for src, dst, qdisc in self._leaves(self._guest_qdiscs())
        }

    def counters(self) -> Counters:
        inside = self._guest_qdiscs()
        leaves = list(self._leaves(inside))
        outside = [qdisc for node in self._uplinks for qdisc in json.loads(self._on_node(node, "-s -j qdisc show"))]
        unmatched = [qdisc for qdisc in inside + outside if qdisc["handle"] == f"{CATCH_ALL:x}:"]
        rate_stages = [qdisc for qdisc in outside if qdisc["kind"] == "bfifo"]
        return Counters(
            matched={(src.node, dst.node): qdisc["packets"] for src, dst, qdisc in leaves},
            unmatched=sum(qdisc["packets"] + qdisc["drops"] for qdisc in unmatched),
            dropped=sum(qdisc["drops"] for _, _, qdisc in leaves) + sum(qdisc["drops"] for qdisc in rate_stages),
        )

    def facts(self) -> dict[str, object]:
        kernel = self._kernel
        return {
            "fabric": self.name,
            "kernel": platform.release(),
            "shaper": "htb and netem in a User-Mode Linux kernel",
            "guest_kernel": kernel.ask("uname -r") if kernel else None,
            "tc": kernel.ask("tc -V") if kernel else None,
            "priority": kernel.priority if kernel else None,
            "boot_s": round(self._boot_s, 3),
        }

    def died(self) -> str | None:
        status = self._kernel.status if self._kernel else None
        return None if status is None else f"its guest kernel ended with status {status}"

    def detach(self) -> None:
        kernel, self._kernel = self._kernel, None
        if kernel:
            kernel.stop()
        switch, self._switch = self._switch, None
        if switch:
            switch.close()  # the nodes' eth0 go with it, and the rate stages with them
        self._uplinks = {}
        self._in_force = frozenset()
        job, self._job = self._job, None
        if job:
            shutil.rmtree(job, ignore_errors=True)

    def _boot(self, switch: SwitchPorts) -> LabKernel:
        started = time.monotonic()
        self._job = Path(tempfile.gettempdir()) / f"wan-testbed-lab-{self._run_id}-{secrets.token_hex(4)}"
        self._journal.directory(self._job)
        self._job.mkdir(mode=0o700)
        kernel = LabKernel(self._job, switch.sockets, bridge_files(switch.hardware), self._journal.environment)
        self._kernel = kernel  # so that detach ends it should the boot fail
        self._journal.group(kernel.pid)
        kernel.wait_until_booted()
        self._boot_s = time.monotonic() - started
        return kernel

    def _carry_out(self, links: Sequence[Link], verb: Literal["add", "change"]) -> None:
        device = {port.node: f"vec{index}" for index, port in enumerate(self._ports)}
        downlinks = plan_downlinks(self._ports, links, device=lambda port: device[port.node])
        planned = {uplink.src: uplink for uplink in plan_uplinks(self._ports, links)}
        unlimited = {src: without_limits(uplink) for src, uplink in self._uplinks.items() if src not in planned}
        for src, uplink in {**planned, **unlimited}.items():
            self._on_node(src, "-batch -", uplink_lines(uplink, "change" if src in self._uplinks else "add"))
            self._uplinks[src] = uplink
        lines = downlink_lines(downlinks, verb)
        changed = [line for line in lines if line not in self._in_force]  # each takes a third of a millisecond
        self._in_force = frozenset()  # should the change fail half-way, the next one sends everything
        self._running_kernel().change(changed)
        self._in_force = frozenset(lines)

    def _on_node(self, node: str, arguments: str, lines: Sequence[str] = ()) -> str:
        """The host's tc in the node's namespace."""
        port = next(port for port in self._ports if port.node == node)
        return run_in_node(port, ["tc", *arguments.split()], lines)

    def _running_kernel(self) -> LabKernel:
        if self._kernel is None:
            raise RuntimeError("the lab fabric is not attached")
        return self._kernel

    def _leaves(self, qdiscs: list[dict[str, Any]]) -> Iterator[tuple[Port, Port, dict[str, Any]]]:
        """Source, destination and netem of every link that the guest shows."""
        by_handle = {f"{FIRST_CLASS + port.index:x}:": port for port in self._ports}
        by_device = {f"vec{index}": port for index, port in enumerate(self._ports)}
        for qdisc in qdiscs:
            if qdisc["kind"] == "netem":
                yield by_handle[qdisc["handle"]], by_device[qdisc["dev"]], qdisc

    def _guest_qdiscs(self) -> list[dict[str, Any]]:
        return json.loads(self._running_kernel().ask("tc -s -j qdisc show"))  # type: ignore[no-any-return]


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


def without_limits(uplink: Uplink) -> Uplink:
    """The same rate stage, out of effect."""
    return replace(uplink, classes=tuple(replace(item, rate_bps=UNLIMITED_BPS) for item in uplink.classes))
