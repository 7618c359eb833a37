"""The qdisc plan: which tc objects make every directed pair of nodes behave as its link says. Pure text, no kernel.

Rule kept: no packet travels unshaped (invariant 6), and a change keeps packets in flight. On the router's interface
towards receiver j stands an htb with one class per source and a netem leaf in it, chosen by the source address:

    root htb 1:  default -> class 1:2, leaf 2: (holds nothing: counts what no link claims, and drops it)
      |-- class 1:100  src 0  leaf 100: netem delay d(0,j)
      |-- class 1:101  src 1  leaf 101: netem delay d(1,j)      <- filter u32 800::2: ip src = address of node 1

The netem stands behind the sender's own stack, so its sockets see a network and not a local queue. Bandwidth is a
separate stage in front of the delay (`plan_uplinks`), on the sender's own interface: rate and delay on one queue
would make the buffer and the pipe indistinguishable. The caller names the devices. The tree is built
once, as text for tc; what its leaves do to packets is set over netlink (`netem_leaves`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from testbed.errors import BadInput
from testbed.network.spec.fabric import Link, Port

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
RATE_BUFFER_MS = 50  # buffer of the rate stage: 50 ms at its rate, a common router setting
MIN_RATE_BUFFER_BYTES = 10 * PACKET_BYTES


@dataclass(frozen=True)
class Leaf:
    """One source's class on one downlink."""

    src: str
    index: int
    address: str


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


def limit_packets(rate_bps: int | None, microseconds: int) -> int:
    """netem's queue limit: 1.5 times what the link holds in flight; tc's default of 1000 drops on long fat links."""
    bit_us = (rate_bps or UNLIMITED_BPS) * microseconds
    return max(MIN_LIMIT_PACKETS, 3 * bit_us // (2 * 8 * PACKET_BYTES * 1_000_000) + 1)


def undelayed(ports: Sequence[Port]) -> list[Link]:
    """The links of a fabric that is attached and not yet shaped."""
    return [Link(a.node, b.node, 0.0) for a in ports for b in ports if a.node != b.node]


def check_links(ports: Sequence[Port], links: Iterable[Link], complete: bool = True) -> dict[tuple[str, str], Link]:
    """The links by pair of nodes, with sane numbers, or BadInput; exactly one for each pair, if `complete`."""
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
        if link.by_chance or link.buffer_bytes is not None:
            _check_effects(name, link)
        found[pair] = link
    if not complete:
        return found
    missing = [f"{a} -> {b}" for a in sorted(nodes) for b in sorted(nodes) if a != b and (a, b) not in found]
    if missing:
        raise BadInput(f"link {missing[0]}: missing; every directed pair of nodes needs one ({len(missing)} missing)")
    return found


def _check_effects(name: str, link: Link) -> None:
    burst = link.burst_loss
    shares = [("reorder", link.reorder)]
    if burst is not None:
        shares += [("burst_loss.p", burst.p), ("burst_loss.r", burst.r)]
        shares += [("burst_loss.loss_bad", burst.loss_bad), ("burst_loss.loss_good", burst.loss_good)]
    for field, share in shares:
        if not 0 <= share <= 1:
            raise BadInput(f"{name}: {field} is {share}; must be a share from 0 to 1")
    if not 0 <= link.jitter_ms < 60_000:
        raise BadInput(f"{name}: jitter_ms is {link.jitter_ms}; must be from 0 to 60000")
    if burst is not None and link.loss:
        raise BadInput(f"{name}: loss and burst_loss exclude each other; remove one of them")
    if link.buffer_bytes is not None and link.buffer_bytes < PACKET_BYTES:
        raise BadInput(f"{name}: buffer_bytes is {link.buffer_bytes}; must hold one packet of {PACKET_BYTES}, or none")
    if link.buffer_bytes is not None and link.rate_bps is None:
        raise BadInput(f"{name}: buffer_bytes without rate_bps; a link without a rate needs no buffer")


def rate_buffer_bytes(link: Link) -> int:
    """What may wait for the link's rate."""
    if link.buffer_bytes is not None:
        return link.buffer_bytes
    return max(MIN_RATE_BUFFER_BYTES, (link.rate_bps or UNLIMITED_BPS) * RATE_BUFFER_MS // 8000)


def plan_downlinks(ports: Sequence[Port], device: Callable[[Port], str]) -> tuple[Downlink, ...]:
    """One downlink per port; `device(port)` names the router's interface towards that node."""
    return tuple(
        Downlink(
            device(dst),
            dst.node,
            tuple(Leaf(src.node, src.index, src.address) for src in ports if src.node != dst.node),
        )
        for dst in ports
    )


def plan_uplinks(ports: Sequence[Port], links: Iterable[Link], standing: Container[str] = ()) -> tuple[Uplink, ...]:
    """The rate stages: one per sender with at least one limited link, holding a class for every receiver.

    `standing` names senders that already have one: it stays when no link is limited any more, with every class open,
    as removing it would lose the packets it holds.
    """
    by_pair = check_links(ports, links)

    def rate_class(link: Link, dst: Port) -> RateClass:
        return RateClass(dst.node, dst.index, dst.address, link.rate_bps or UNLIMITED_BPS, rate_buffer_bytes(link))

    uplinks = []
    for src in ports:
        outgoing = [(by_pair[src.node, dst.node], dst) for dst in ports if dst.node != src.node]
        if src.node in standing or any(link.rate_bps is not None for link, _ in outgoing):
            uplinks.append(Uplink(src.node, tuple(rate_class(link, dst) for link, dst in outgoing)))
    return tuple(uplinks)


def downlink_lines(downlinks: Iterable[Downlink], leaf: LeafKind = "netem") -> list[str]:
    """`tc -batch` lines that build the trees on bare devices; their leaves delay nothing until they are changed."""
    lines: list[str] = []
    for downlink in downlinks:
        lines += _root_lines(downlink.device)
        for item in downlink.leaves:
            number = FIRST_CLASS + item.index
            place = f"dev {downlink.device} parent {ROOT:x}:{number:x} handle {number:x}:"
            lines += _class_lines(downlink.device, number, UNLIMITED_BPS, "add")
            lines.append(f"qdisc add {place} {leaf} limit {MIN_LIMIT_PACKETS}")
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
