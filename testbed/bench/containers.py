"""`make bench`, nodes in containers: how long many nodes take until every node's program has answered.

Left out, with the reason, where there is no engine, no image of the code that runs here, or no root.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from testbed.bench.measurement import Measurement
from testbed.bench.network import joined, journalled, matrix, node_names
from testbed.containers.engine import connect
from testbed.containers.images import Image, for_roles
from testbed.containers.nodes import AT_ONCE, ContainerNodes, exchange_folder
from testbed.containers.specification import Wanted
from testbed.emulation.lock import machine_lock
from testbed.errors import MachineCannot
from testbed.network.capabilities import resolve_fabric
from testbed.network.fabrics import make_fabric
from testbed.network.spec.fabric import FabricName
from testbed.nodes.control import ControlReply, NodeConfig, Ready, line
from testbed.system.userns import as_root, privilege

if TYPE_CHECKING:
    from docker import DockerClient

NODES = 32
ROLE = "drafter"


def container_figures() -> list[Measurement]:
    """While no emulation runs on this machine."""
    try:
        if privilege() in ("none", "user namespace"):
            raise MachineCannot(f"containers belong to root, so their links need root; {as_root()}")
        fabric, _ = resolve_fabric("auto")
        client = connect()
        image = for_roles(client, {ROLE})[ROLE]
    except MachineCannot as lack:
        print(f"bench: containers are left out: {lack}", file=sys.stderr)
        return []
    with contextlib.closing(client), machine_lock():
        return [bring_up(client, image, fabric)]


def bring_up(client: DockerClient, image: Image, fabric: FabricName) -> Measurement:
    """Containers made, a fabric attached and shaped, and a program without models begun in each."""
    names = node_names(NODES)
    start = time.monotonic()
    with journalled() as (run_id, journal):
        wanted = [
            Wanted(run_id, name, image, exchange_folder(journal, name), environment=journal.environment)
            for name in names
        ]
        with ContainerNodes(client, journal, wanted) as nodes:
            started_s = time.monotonic() - start
            pids: Mapping[str, int | None] = {name: nodes.pids[name] for name in names}
            with joined(make_fabric(fabric, run_id, journal), run_id, journal, pids) as made:
                made.fabric.shape(matrix(made.ports, seed=NODES))
                wired_s = time.monotonic() - start
                configs = [NodeConfig(port.node, "here", port.address) for port in made.ports]
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    list(pool.map(lambda config: answers(nodes, config), configs))
                took_s = time.monotonic() - start
    said = f"{fabric}; {started_s:.1f} s until all have started, {wired_s:.1f} s until their links are shaped"
    return Measurement(f"{NODES} containers up, wired, healthy", took_s, "s", took_s, took_s, said)


def answers(nodes: ContainerNodes, config: NodeConfig) -> None:
    """Returns when the node listens on its link. Raises MachineCannot when its program ends instead."""
    decoder = msgspec.json.Decoder(ControlReply)
    program = nodes.programs[config.node]
    program.send(line(config))
    for text in program.lines():
        if isinstance(decoder.decode(text), Ready):
            return
    raise MachineCannot(f"the program of {config.node} ended before it was ready (status "
                        f"{program.status()})")  # fmt: skip
