"""The qdisc plan: which tc objects make every ordered pair of nodes behave as its link says. Pure text, no kernel.

Rule kept: no packet travels unshaped (invariant 6), and a change keeps packets in flight. On the router's interface
towards receiver j stands an htb with one class per source and a netem leaf in it, chosen by the source address:

    root htb 1:  default -> class 1:2, leaf 2: (holds nothing: counts what no link claims, and drops it)
      |-- class 1:100  src 0  leaf 100: netem delay d(0,j)
      |-- class 1:101  src 1  leaf 101: netem delay d(1,j)      <- filter u32 800::2: ip src = address of node 1

The netem stands behind the sender's own stack, so its sockets see a network and not a local queue. Bandwidth is a
separate stage in front of the delay (`plan_uplinks`), on the sender's own interface: rate and delay on one queue
would make the buffer and the pipe indistinguishable. Whoever applies the plan names the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from testbed.errors import BadInput
from testbed.network.fabric import Link, Port

LeafKind = Literal["netem", "pfifo"]  # pfifo: the same tree on a kernel without netem; carries no delay
Verb = Literal["add", "change"]

ROOT = 0x1
CATCH_ALL = 0x2  # class 1:2 and leaf 2:
FIRST_CLASS = (
    0x100  # class 1:(0x100 + index), leaf (0x100 + index): the source's on downlinks, the receiver's on uplinks
)
MAX_NODES = 1024  # a linear chain of u32 filters costs 0.03 ms per 1,000; beyond it this plan is the wrong one

UNLIMITED_BPS = 10_000_000_000  # class rate of a link without a limit: far above any, below htb's 32-bit bytes/s field
BURST_BYTES = 1_000_000  # whole milliseconds of UNLIMITED_BPS, so htb itself never paces an unlimited link
QUANTUM_BYTES = 60_000  # explicit: the rate/r2q default would exceed htb's bounds and be clamped with a warning
PACKET_BYTES = 1514  # Ethernet frame at MTU 1500, what netem's limit counts
MIN_LIMIT_PACKETS = 10_000
LIMIT_SAFETY = Decimal("1.5")
RATE_BUFFER_MS = 50  # buffer of the rate stage: 50 ms at its rate, a common router setting
MIN_RATE_BUFFER_BYTES = 10 * PACKET_BYTES


@dataclass(frozen=True)
class Leaf:
    """One source's class on one downlink."""

    src: str
    index: int
    address: str
    delay_us: int
    loss: float
    limit_packets: int


@dataclass(frozen=True)
class Downlink:
    """Everything on the router's interface towards one receiver."""

    device: str
    dst: str
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True)
class RateClass:
    """One receiver's class on one sender's uplink."""

    dst: str
    index: int
    address: str
    rate_bps: int
    buffer_bytes: int


@dataclass(frozen=True)
class Uplink:
    """The rate stage on one sender's own interface; only planned for senders that have a limited link."""

    src: str
    classes: tuple[RateClass, ...]


def delay_us(one_way_ms: float) -> int:
    """Whole microseconds nearest to `one_way_ms`, through its decimal text: 10.05 -> 10050."""
    return int((Decimal(repr(float(one_way_ms))) * 1000).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def format_delay(microseconds: int) -> str:
    """A delay in the only form this project gives tc: whole microseconds with their unit."""
    return f"{microseconds}us"


def format_loss(share: float) -> str:
    """A share of packets as tc's percentage, without exponent: 0.005 -> 0.5%."""
    percent = (Decimal(repr(float(share))) * 100).quantize(Decimal("0.000001"))
    return f"{percent:f}".rstrip("0").rstrip(".") + "%"


def limit_packets(rate_bps: int | None, microseconds: int) -> int:
    """netem's queue limit: 1.5 times what the link holds in flight; tc's default of 1000 drops on long fat links."""
    bits = Decimal(rate_bps or UNLIMITED_BPS) * microseconds / 1_000_000
    return max(MIN_LIMIT_PACKETS, int(LIMIT_SAFETY * bits / (8 * PACKET_BYTES)) + 1)


def undelayed(ports: Sequence[Port]) -> list[Link]:
    """The links of a fabric that is attached and not yet shaped."""
    return [Link(a.node, b.node, 0.0) for a in ports for b in ports if a.node != b.node]


def check_links(ports: Sequence[Port], links: Iterable[Link]) -> dict[tuple[str, str], Link]:
    """The links by ordered pair; exactly one for each, with sane numbers, or BadInput."""
    nodes = {port.node for port in ports}
    if len(ports) > MAX_NODES:
        raise BadInput(f"network: {len(ports)} nodes; the qdisc plan carries at most {MAX_NODES}")
    found: dict[tuple[str, str], Link] = {}
    for link in links:
        pair = (link.src, link.dst)
        name = f"link {link.src} -> {link.dst}"
        if link.src not in nodes or link.dst not in nodes or link.src == link.dst:
            raise BadInput(f"{name}: both ends must be different nodes of the network ({', '.join(sorted(nodes))})")
        if pair in found:
            raise BadInput(f"{name}: given twice")
        if not 0 <= link.one_way_ms < 60_000:
            raise BadInput(f"{name}: one_way_ms is {link.one_way_ms}; must be from 0 to 60000")
        if not 0 <= link.loss <= 1:
            raise BadInput(f"{name}: loss is {link.loss}; must be a share from 0 to 1")
        if link.rate_bps is not None and not 8_000 <= link.rate_bps <= UNLIMITED_BPS:
            raise BadInput(f"{name}: rate_bps is {link.rate_bps}; must be from 8000 to {UNLIMITED_BPS}, or none")
        found[pair] = link
    missing = [f"{a} -> {b}" for a in sorted(nodes) for b in sorted(nodes) if a != b and (a, b) not in found]
    if missing:
        raise BadInput(f"link {missing[0]}: missing; every ordered pair needs one ({len(missing)} missing)")
    return found


def plan_downlinks(ports: Sequence[Port], links: Iterable[Link], device: Callable[[Port], str]) -> tuple[Downlink, ...]:
    """One downlink per port; `device(port)` names the router's interface towards that node."""
    by_pair = check_links(ports, links)

    def leaf(src: Port, dst: Port) -> Leaf:
        link = by_pair[src.node, dst.node]
        delay = delay_us(link.one_way_ms)
        return Leaf(src.node, src.index, src.address, delay, link.loss, limit_packets(link.rate_bps, delay))

    return tuple(
        Downlink(device(dst), dst.node, tuple(leaf(src, dst) for src in ports if src.node != dst.node)) for dst in ports
    )


def plan_uplinks(ports: Sequence[Port], links: Iterable[Link], standing: Container[str] = ()) -> tuple[Uplink, ...]:
    """The rate stages: one per sender with at least one limited link, holding a class for every receiver.

    `standing` names senders that already have one: it stays when no link is limited any more, with every class open,
    as removing it would lose the packets it holds.
    """
    by_pair = check_links(ports, links)

    def rate_class(link: Link, dst: Port) -> RateClass:
        rate = link.rate_bps or UNLIMITED_BPS
        buffer = max(MIN_RATE_BUFFER_BYTES, rate * RATE_BUFFER_MS // 8000)
        return RateClass(dst.node, dst.index, dst.address, rate, buffer)

    uplinks = []
    for src in ports:
        outgoing = [(by_pair[src.node, dst.node], dst) for dst in ports if dst.node != src.node]
        if src.node in standing or any(link.rate_bps is not None for link, _ in outgoing):
            uplinks.append(Uplink(src.node, tuple(rate_class(link, dst) for link, dst in outgoing)))
    return tuple(uplinks)


def downlink_lines(downlinks: Iterable[Downlink], verb: Verb, leaf: LeafKind = "netem") -> list[str]:
    """`tc -batch` lines. `add` builds the trees on bare devices; `change` resends every leaf's full state in place.

    A change touches leaves only and keeps their handles: packets in flight keep the departure time they were given.
    """
    lines: list[str] = []
    for downlink in downlinks:
        if verb == "add":
            lines += _root_lines(downlink.device)
        for item in downlink.leaves:
            if leaf == "pfifo" and (item.delay_us or item.loss):
                raise ValueError(f"a pfifo leaf carries no delay or loss: {item.src} -> {downlink.dst}")
            number = FIRST_CLASS + item.index
            if verb == "add":
                lines += _class_lines(downlink.device, number, UNLIMITED_BPS, "add")
            place = f"dev {downlink.device} parent {ROOT:x}:{number:x} handle {number:x}:"
            impairment = (
                f" delay {format_delay(item.delay_us)} loss {format_loss(item.loss)}" if leaf == "netem" else ""
            )
            lines.append(f"qdisc {verb} {place} {leaf} limit {item.limit_packets}{impairment}")
            if verb == "add":
                lines.append(_filter_line(downlink.device, item.index, "src", item.address))
    return lines


def uplink_lines(uplink: Uplink, verb: Verb, device: str = "eth0") -> list[str]:
    """`tc -batch` lines of one sender's rate stage, for its own interface."""
    lines = _root_lines(device) if verb == "add" else []
    for item in uplink.classes:
        number = FIRST_CLASS + item.index
        lines += _class_lines(device, number, item.rate_bps, verb)
        lines.append(
            f"qdisc {verb} dev {device} parent {ROOT:x}:{number:x} handle {number:x}: bfifo limit {item.buffer_bytes}"
        )
        if verb == "add":
            lines.append(_filter_line(device, item.index, "dst", item.address))
    return lines


def _root_lines(device: str) -> list[str]:
    """Root htb and the catch-all, whose leaf of length 0 drops, and so counts, whatever reaches it."""
    return [
        f"qdisc add dev {device} root handle {ROOT:x}: htb default 0x{CATCH_ALL:x}",
        *_class_lines(device, CATCH_ALL, UNLIMITED_BPS, "add"),
        f"qdisc add dev {device} parent {ROOT:x}:{CATCH_ALL:x} handle {CATCH_ALL:x}: pfifo limit 0",
    ]


def _class_lines(device: str, number: int, rate_bps: int, verb: Verb) -> list[str]:
    burst = max(PACKET_BYTES * 2, BURST_BYTES * rate_bps // UNLIMITED_BPS)
    shape = f"rate {rate_bps}bit ceil {rate_bps}bit burst {burst}b cburst {burst}b quantum {QUANTUM_BYTES}"
    return [f"class {verb} dev {device} parent {ROOT:x}: classid {ROOT:x}:{number:x} htb {shape}"]


def _filter_line(device: str, index: int, end: Literal["src", "dst"], address: str) -> str:
    number = FIRST_CLASS + index
    return (
        f"filter add dev {device} parent {ROOT:x}: protocol ip prio 1 handle 800::{index + 1:x} "
        f"u32 match ip {end} {address}/32 flowid {ROOT:x}:{number:x}"
    )
