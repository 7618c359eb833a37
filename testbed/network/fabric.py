"""What every network fabric must do: carry packets between nodes, each ordered pair with its own one-way delay.

One pure plan (`testbed.network.plan`) says what each link should be; a fabric makes it so. `netem` uses the host
kernel's qdisc, `lab` the same qdiscs inside a User-Mode Linux kernel, `relay` a user-space delay line over TUN
devices. This module knows none of them: it holds the types they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

FabricName = Literal["netem", "lab", "relay"]


@dataclass(frozen=True)
class Port:
    """One node as the fabric sees it: a network namespace and the address it answers to.

    `pid` is any process that lives in the node's network namespace (`/proc/<pid>/ns/net`), so a Mininet host and a
    container look the same.
    """

    node: str
    index: int  # 0 .. N-1, decides the address and the htb class
    address: str  # IPv4, without prefix length
    pid: int


@dataclass(frozen=True)
class Link:
    """What one ordered pair of nodes should experience. All delays are one-way and in milliseconds."""

    src: str
    dst: str
    one_way_ms: float
    loss: float = 0.0  # share of packets, 0..1
    rate_bps: int | None = None  # None: not limited


@dataclass(frozen=True)
class Counters:
    """Packets since the fabric came up, as its own counters say.

    `unmatched` are packets that travelled, or would have, without a link's delay: must stay zero (invariant 6).
    """

    matched: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unmatched: int = 0
    dropped: int = 0


class Fabric(Protocol):
    """The life of a fabric is attach, shape (any number of times), counters, detach; detach is safe at any moment."""

    name: FabricName

    def attach(self, ports: Sequence[Port]) -> None:
        """Gives every node an interface `eth0` with its address and carries packets between all pairs, without delay.

        Raises MachineCannot, in one line with the mend, when the machine lacks something.
        """

    def shape(self, links: Sequence[Link]) -> None:
        """Makes every ordered pair behave as its link says; the whole state each time, packets in flight are kept."""

    def read_back(self) -> dict[tuple[str, str], float]:
        """One-way delay in ms per ordered pair, as the mechanism itself reports it (tc -s, the relay's table)."""

    def counters(self) -> Counters: ...

    def facts(self) -> dict[str, object]:
        """Provenance for the manifest: kernel, tool versions, priority of the shaper, qdiscs in use."""

    def died(self) -> str | None:
        """Why nothing is carried any more, when what carried it has ended by itself; None while all is well."""

    def detach(self) -> None:
        """Removes everything attach and shape made. Idempotent; never raises for what is already gone."""
