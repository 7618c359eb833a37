"""The netem leaves of a qdisc plan, changed in place over netlink: whichever kernel they stand in.

Rules kept: every change holds a leaf's whole state under its old handle, so packets in flight stay; what the kernel
then shows is compared with what was asked, and a difference is an error that names the link. What a leaf drops is told
apart by what was asked of its link: `lost` with a loss model, `cut` while the link is down, else `dropped`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from testbed.errors import BadInput, MachineCannot
from testbed.network.netem.encoder import (
    JITTER_LIMIT_NS,
    RESET_BYTES,
    NetemState,
    Qdisc,
    decode_options,
    decode_qdisc,
    differences,
    encode_options,
    htb_direct_packets,
)
from testbed.network.netem.plan import CATCH_ALL, FIRST_CLASS, ROOT, LeafKind, limit_packets
from testbed.network.spec.fabric import Counters, Link, Pair, Port
from testbed.system.netlink import (
    NLM_F_ECHO,
    RTM_GETQDISC,
    RTM_NEWQDISC,
    TCA_KIND,
    TCA_OPTIONS,
    Answer,
    Refusal,
    attribute,
    qdisc_request,
)

Fate = Literal["dropped", "lost", "cut"]

# Any rate keeps netem's queue in order (sch_netem.c, netem_enqueue). This one adds 0 ns to a full packet: one that adds
# anything lets each packet of a burst wait for its own timer, which halves what the lab's kernel carries.
IN_ORDER_BYTES_PER_S = 1 << 45
SEED_STEP = 0x9E3779B97F4A7C15  # splitmix64's increment: successive seeds share no pattern
U64 = 0xFFFF_FFFF_FFFF_FFFF


class QdiscKernel(Protocol):
    """Whoever carries netlink requests to the kernel that holds the queues; see netlink.RouteSocket."""

    def prepare(
        self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]
    ) -> Callable[[], dict[int, Answer]]: ...

    def dump_qdiscs(self) -> list[bytes]: ...


def netem_state(link: Link) -> NetemState:
    """What netem must be set to for this link, without a seed."""
    latency_ns, jitter_ns = round(link.one_way_ms * 1e6), round(link.jitter_ms * 1e6)
    if jitter_ns > JITTER_LIMIT_NS:
        raise BadInput(f"link {link.src} -> {link.dst}: jitter_ms is {link.jitter_ms}; netem's ends at 2147")
    burst = link.burst_loss
    return NetemState(
        latency_ns,
        limit_packets(link.rate_bps, (latency_ns + jitter_ns) // 1000),
        jitter_ns,
        link.loss if link.up else 1.0,
        (burst.p, burst.r, burst.loss_bad, burst.loss_good) if burst and link.up else None,
        link.reorder,
        0 if jitter_ns or link.reorder else IN_ORDER_BYTES_PER_S,
    )


def fate(link: Link) -> Fate:
    """What a packet that the link's leaf drops counts as."""
    if not link.up:
        return "cut"
    return "lost" if link.loses else "dropped"


def pair_seed(seed: str, pair: Pair) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{pair[0]}>{pair[1]}".encode(), digest_size=8).digest(), "little")


class _Leaf:
    """One pair's leaf: where it is, what it was last set to, and what it has dropped so far."""

    __slots__ = ("changes", "counted", "drops_before", "fate", "ifindex", "number", "seed", "state")

    def __init__(self, ifindex: int, number: int, seed: int) -> None:
        self.ifindex = ifindex
        self.number = number
        self.seed = seed
        self.changes = 0
        self.state: NetemState | None = None  # in force, without the seed; None: unknown
        self.fate: Fate = "dropped"
        self.drops_before = 0  # of the kernel's count, already in `counted`
        self.counted: Counter[Fate] = Counter()

    def settle(self, drops: int) -> None:
        """Books what has been dropped until now."""
        self.counted[self.fate] += drops - self.drops_before
        self.drops_before = drops


class _Prepared(NamedTuple):
    """A change that is right as long as no other one is prepared."""

    number: int
    requests: list[bytes]
    owners: list[tuple[Pair, NetemState | None]]  # of each request; None: it only asks for the counters
    wanted: set[int]
    exchange: Callable[[], dict[int, Answer]]


class NetemLeaves:
    """All leaves of one fabric. `devices` gives the interface index of the downlink towards each node."""

    def __init__(
        self,
        owner: str,
        kernel: QdiscKernel,
        ports: Sequence[Port],
        devices: Mapping[str, int],
        seed: str,
        kind: LeafKind = "netem",
    ) -> None:
        self._owner = owner
        self._kernel = kernel
        self._kind = kind
        self._sequence = 0
        self._latest = 0  # number of the last change that was prepared
        self._leaves = {
            (src.node, dst.node): _Leaf(
                devices[dst.node], FIRST_CLASS + src.index, pair_seed(seed, (src.node, dst.node))
            )
            for src in ports
            for dst in ports
            if src.node != dst.node
        }
        self._front = attribute(TCA_KIND, kind.encode() + b"\0")
        shown = [qdisc for _, qdisc in self._shown()]
        self.takes_seeds = kind == "netem" and any(decode_options(qdisc.options)[0].seed is not None for qdisc in shown)

    def change(self, links: Mapping[Pair, Link]) -> None:
        """Brings these pairs' leaves into force; those that are as asked already are left alone."""
        self.prepare(links)()

    def prepare(self, links: Mapping[Pair, Link]) -> Callable[[], None]:
        """A change but for its last step: all is encoded, and has been brought as near to the kernel as it can be."""
        return functools.partial(self._bring_into_force, links, self._prepare(links))

    def _prepare(self, links: Mapping[Pair, Link]) -> _Prepared:
        requests: list[bytes] = []
        owners: list[tuple[Pair, NetemState | None]] = []
        wanted: set[int] = set()
        for pair, link in links.items():
            leaf, state, then = self._leaves[pair], netem_state(link), fate(link)
            if leaf.state == state and leaf.fate == then:
                continue
            if leaf.fate != then:  # a packet lost on purpose between count and change must not count as `dropped`
                wanted.add(len(requests))  # so the count comes before the purpose begins, or after it has ended
                if leaf.fate == "dropped":
                    requests.append(self._request(leaf, RTM_GETQDISC, b""))
                    owners.append((pair, None))
            requests.append(self._request(leaf, RTM_NEWQDISC, self._settings(leaf, state)))
            owners.append((pair, state))
        with self._asking():
            reset_bytes = RESET_BYTES if self._kind == "netem" else 0
            exchange = self._kernel.prepare(requests, reset_bytes, wanted) if requests else dict
        self._latest += 1
        return _Prepared(self._latest, requests, owners, wanted, exchange)

    def _bring_into_force(self, links: Mapping[Pair, Link], prepared: _Prepared) -> None:
        if prepared.number != self._latest:  # what it left alone, and its seeds, may not be right any more
            prepared = self._prepare(links)
        _, requests, owners, wanted, exchange = prepared
        if not requests:
            return
        for pair, sets in owners:
            if sets is not None:
                self._leaves[pair].state = None
                self._leaves[pair].changes += 1
        with self._asking():
            answers = exchange()
        for position, answer in answers.items():
            pair, sets = owners[position]
            self._examine(pair, answer, asked=requests[position] if sets else None)
            if position in wanted and not isinstance(answer, Refusal):
                self._leaves[pair].settle(decode_qdisc(answer).drops)
        for pair, sets in owners:
            if sets is not None:
                self._leaves[pair].state, self._leaves[pair].fate = sets, fate(links[pair])

    def read_back(self) -> dict[Pair, float]:
        """One-way delay in ms, as the kernel shows it."""
        if self._kind == "pfifo":
            return {pair: 0.0 for pair, _ in self._shown()}
        return {pair: decode_options(qdisc.options)[0].latency_ns / 1e6 for pair, qdisc in self._shown()}

    def counters(self, others: Iterable[Qdisc] = ()) -> Counters:
        """`others` are queues outside of this kernel or namespace: the senders' rate stages."""
        totals: Counter[Fate] = Counter()
        matched = {}
        table = self._table()
        for pair, qdisc in self._shown(table):
            leaf = self._leaves[pair]
            leaf.settle(qdisc.drops)
            totals += leaf.counted
            matched[pair] = qdisc.packets
        table += others
        buffers = sum(qdisc.drops for qdisc in table if qdisc.kind == "bfifo")
        return Counters(
            matched, sum(_unmatched(one) for one in table), totals["dropped"] + buffers, totals["lost"], totals["cut"]
        )

    def kinds(self) -> list[str]:
        return sorted({qdisc.kind for qdisc in self._table()} - {"noqueue"})

    def _settings(self, leaf: _Leaf, state: NetemState) -> bytes:
        if self._kind == "pfifo":
            return self._front + attribute(TCA_OPTIONS, struct.pack("=I", state.limit_packets))  # struct tc_fifo_qopt
        if self.takes_seeds:
            # a seed starts the draws anew: the same one at every change would repeat the same few fates
            state = state._replace(seed=(leaf.seed + (leaf.changes + 1) * SEED_STEP) & U64)
        return self._front + attribute(TCA_OPTIONS, encode_options(state))

    def _request(self, leaf: _Leaf, kind: int, rest: bytes) -> bytes:
        self._sequence += 1
        handle, parent = leaf.number << 16, ROOT << 16 | leaf.number
        return qdisc_request(kind, NLM_F_ECHO, self._sequence, leaf.ifindex, handle, parent, rest)

    def _examine(self, pair: Pair, answer: Answer, asked: bytes | None) -> None:
        link = f"fabric {self._owner}: link {pair[0]} -> {pair[1]}"
        if isinstance(answer, Refusal):
            raise MachineCannot(f"{link}: the kernel refused the change ({answer.text}); see testbed doctor")
        if asked is not None and self._kind == "netem":
            told = differences(decode_qdisc(asked).options, decode_qdisc(answer).options)
            if told:
                raise MachineCannot(
                    f"{link}: the kernel shows {', '.join(told)}; only one program may manage its queues"
                )

    def _shown(self, table: Sequence[Qdisc] | None = None) -> list[tuple[Pair, Qdisc]]:
        """The leaves that the kernel shows."""
        places = {(leaf.ifindex, leaf.number << 16): pair for pair, leaf in self._leaves.items()}
        shown = self._table() if table is None else table
        return [
            (pair, qdisc)
            for qdisc in shown
            if qdisc.kind == self._kind and (pair := places.get((qdisc.ifindex, qdisc.handle)))
        ]

    def _table(self) -> list[Qdisc]:
        with self._asking():
            return [decode_qdisc(message) for message in self._kernel.dump_qdiscs()]

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """An exchange that fails as a whole, for want of a buffer or of any answer, is said in one line."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise MachineCannot(f"fabric {self._owner}: netlink failed ({reason}); see testbed doctor") from error


def _unmatched(qdisc: Qdisc) -> int:
    """What no class claimed: dropped and counted by the catch-all, or passed by an htb that has lost its default."""
    if qdisc.handle == CATCH_ALL << 16:
        return qdisc.packets + qdisc.drops
    return htb_direct_packets(qdisc) if qdisc.kind == "htb" else 0
