"""What every network fabric must do: carry packets between nodes, each directed link with its own one-way delay.

One pure plan (`testbed.network.netem.plan`) says what each link should be; a fabric makes it so. `netem` uses the host
kernel's qdisc, `lab` the same qdiscs inside a User-Mode Linux kernel, `relay` a user-space delay line over TUN
devices. This module knows none of them: it holds the types they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal, Protocol

from testbed.errors import RunInvalid
from testbed.network.spec.effects import BY_CHANCE, Effects

FabricName = Literal["netem", "lab", "relay"]
ON_RUN_CLOCK: frozenset[FabricName] = frozenset({"relay"})  # its packets wait by the run's clock, others' in a kernel
Pair = tuple[str, str]  # source and destination: of nodes, or of the sites they stand at


def delay_us(one_way_ms: float) -> int:
    """Whole microseconds nearest to `one_way_ms`, through its decimal text: 10.05 -> 10050."""
    return int((Decimal(repr(float(one_way_ms))) * 1000).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


class FabricDied(RunInvalid):
    """What carried the packets has ended by itself, or was killed."""


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
class BurstLoss:
    """The Gilbert-Elliott model: a chain of a good and a bad state that steps once a packet. All shares are 0..1.

    A packet meets the loss of the state it finds, then the chain steps. With the defaults a share p / (p + r) of all
    packets is lost, in bursts of 1 / r packets on average.
    """

    p: float  # good -> bad
    r: float  # bad -> good
    loss_bad: float = 1.0
    loss_good: float = 0.0

    @property
    def ends_all(self) -> bool:
        """From some packet on, every one is lost."""
        stays_good, stays_bad = self.p == 0, self.r == 0 and self.p > 0
        reached = [self.loss_good] if stays_good else [self.loss_bad] if stays_bad else [self.loss_good, self.loss_bad]
        return all(share == 1 for share in reached)


@dataclass(frozen=True)
class Link(Effects):
    """What one directed pair of nodes should experience. All delays are one-way and in milliseconds.

    Without jitter and reordering a link is first in, first out, even when its delay falls; with either, packets may
    overtake each other. `loss` and `burst_loss` exclude each other.
    """

    src: str
    dst: str
    one_way_ms: float
    loss: float = 0.0  # share of packets, 0..1, each for itself
    rate_bps: int | None = None  # None: not limited
    jitter_ms: float = 0.0  # half-width of a uniform spread around one_way_ms, drawn for each packet; never below 0
    burst_loss: BurstLoss | None = None
    reorder: float = 0.0  # share of packets that are sent at once, without the delay: netem's reorder with gap 1
    buffer_bytes: int | None = None  # of the rate stage; None: plan.RATE_BUFFER_MS at the rate
    up: bool = True  # False: cut, so every packet of the pair is dropped, and counted as `cut`

    def without_chance(self) -> Link:
        """This link with what all its packets meet alike."""
        defaults: dict[str, Any] = {one.name: one.default for one in fields(self) if one.name in BY_CHANCE}
        return replace(self, **defaults)


@dataclass(frozen=True)
class Counters:
    """Packets since the fabric came up, as its own counters say.

    `unmatched` are packets that travelled, or would have, without a link's delay: must stay zero (invariant 6).
    `lost` and `cut` were dropped on purpose, by a loss model or a cut link; `dropped` for any other reason.
    """

    matched: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unmatched: int = 0
    dropped: int = 0
    lost: int = 0
    cut: int = 0


class Fabric(Protocol):
    """The life of a fabric is attach, shape and change (any number of times), counters, detach.

    detach is safe at any moment.
    """

    name: FabricName

    def attach(self, ports: Sequence[Port]) -> None:
        """Gives every node an interface `eth0` with its address and carries packets between all pairs, without delay.

        Raises MachineCannot, in one line with the fix, when the machine lacks something.
        """

    def shape(self, links: Sequence[Link]) -> None:
        """Makes every directed link behave as its link says; the whole state each time, packets in flight are kept."""

    def change(self, links: Sequence[Link]) -> None:
        """Gives these pairs, and no others, the whole state of their link; packets in flight are kept.

        For live updates: all 240 pairs of 16 nodes in some milliseconds.
        """

    def prepare(self, links: Sequence[Link]) -> Callable[[], None]:
        """Does ahead whatever of a change can be done ahead; what it returns does the rest, once.

        For changes with a deadline. Only one is held ready at a time, and other changes may come before it.
        """

    def read_back(self) -> dict[tuple[str, str], float]:
        """One-way delay in ms per directed link, as the mechanism itself reports it (tc -s, the relay's table)."""

    def counters(self) -> Counters: ...

    def facts(self) -> dict[str, object]:
        """Provenance for the manifest: kernel, tool versions, priority of the shaper, qdiscs in use."""

    def died(self) -> str | None:
        """Why nothing is carried any more, when what carried it has ended by itself; None while all is well."""

    def detach(self) -> None:
        """Removes everything attach and shape made. Idempotent; never raises for what is already gone."""
