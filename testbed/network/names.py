"""What somebody's own programs in the nodes know of the network: names that resolve, and addresses as environment.

Names stand in /etc/hosts, which each node sees as the testbed wrote it; the machine's own file is not touched. The
testbed's programs need neither: they are told addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PREFIX = "TESTBED_"
HOSTS_FILE = "/etc/hosts"
_NO_NAME = re.compile(r"\W", re.ASCII)


def hosts_text(addresses: Mapping[str, str]) -> str:
    """The hosts file (hosts(5)) of every node."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    return "".join(f"{line}\n" for line in [*lines, *(f"{address} {name}" for name, address in addresses.items())])


def environment(node: str, addresses: Mapping[str, str]) -> dict[str, str]:
    """Of a program in `node`: its own name and address, every other's, and all together.

    A variable's name may hold letters, digits and underscores only: other characters of a node's name become
    underscores there, and where two nodes' names become the same, `TESTBED_NODES` alone tells them apart.
    """
    each = {name: f"{PREFIX}ADDR_{_NO_NAME.sub('_', name)}" for name in addresses}
    clear = {name: key for name, key in each.items() if list(each.values()).count(key) == 1}
    return {
        f"{PREFIX}NODE": node,
        f"{PREFIX}ADDR": addresses[node],
        f"{PREFIX}NODES": " ".join(f"{name}={address}" for name, address in addresses.items()),
        **{key: addresses[name] for name, key in clear.items()},
    }
