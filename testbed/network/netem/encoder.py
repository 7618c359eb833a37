"""netem's settings as the bytes of rtnetlink and back: struct tc_netem_qopt and its attributes (linux/pkt_sched.h).

Pure. Rule kept: a request always holds the whole state, because the kernel's change is neither a merge nor a reset
(delay, limit and loss are replaced; rate, correlations, reordering, ECN and slots stay until overwritten). What this
testbed never asks for is sent as zero, and told apart as `foreign` when it is read back. A table of a delay
distribution is the one thing that no request can take away again.

The attributes stand in the order in which the kernel's own dump has them (net/sched/sch_netem.c, netem_dump), so what
comes back is in the common case equal byte for byte.
"""

from __future__ import annotations

import functools
import struct
from typing import NamedTuple

from testbed.system.netlink import BODY, HEADER, TC, TCA_KIND, TCA_OPTIONS, TCA_STATS2, attribute, attributes

# linux/pkt_sched.h
TCA_NETEM_CORR, TCA_NETEM_REORDER, TCA_NETEM_CORRUPT, TCA_NETEM_LOSS, TCA_NETEM_RATE = 1, 3, 4, 5, 6
TCA_NETEM_ECN, TCA_NETEM_RATE64, TCA_NETEM_LATENCY64, TCA_NETEM_JITTER64, TCA_NETEM_SLOT = 7, 8, 10, 11, 12
TCA_NETEM_PRNG_SEED = 14  # since kernel 6.6; older ones ignore it
NETEM_LOSS_GE = 2
QOPT = struct.Struct("=IIIIII")  # struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter
CORR = struct.Struct("=III")  # struct tc_netem_corr: delay, loss, duplicate
PAIR = struct.Struct("=II")  # struct tc_netem_reorder and tc_netem_corrupt: probability, correlation
RATE = struct.Struct("=IiIi")  # struct tc_netem_rate: bytes/s, packet overhead, cell size, cell overhead
GEMODEL = struct.Struct("=IIII")  # struct tc_netem_gemodel: p, r, h, k1
U64 = struct.Struct("=Q")
SLOT = struct.Struct("=qqiiqq")  # struct tc_netem_slot
# linux/gen_stats.h
TCA_STATS_BASIC, TCA_STATS_QUEUE, TCA_STATS_PKT64 = 1, 3, 8
HTB_DIRECT_PACKETS = struct.Struct("=IIIII")  # struct tc_htb_glob; the last is direct_pkts
TCA_HTB_INIT = 2

PSCHED_SHIFT = 6  # net/pkt_sched.h: a tick of the classic fields is 64 ns
U32_MAX = 0xFFFF_FFFF  # also a share of 1
JITTER_LIMIT_NS = 0x7FFF_FFFF  # sch_netem.c caps the jitter at INT_MAX
FIFO_GAP = 1  # every packet may be the one that overtakes


class NetemState(NamedTuple):
    """One netem as its settings say; shares are 0..1."""

    latency_ns: int = 0
    limit_packets: int = 1000
    jitter_ns: int = 0  # half-width of a uniform spread
    loss: float = 0.0
    burst: tuple[float, float, float, float] | None = None  # Gilbert-Elliott: p, r, loss while bad, loss while good
    reorder: float = 0.0  # share of packets that do not wait
    rate_bytes_per_s: int = 0  # 0: none; any other value also makes the queue first in, first out
    seed: int | None = None  # of all draws; None: for a kernel that takes none


class Qdisc(NamedTuple):
    """One line of the kernel's table of queues."""

    ifindex: int
    handle: int
    parent: int
    kind: str
    options: bytes
    packets: int
    drops: int


RESET = attribute(TCA_NETEM_ECN, bytes(4)) + attribute(TCA_NETEM_SLOT, bytes(SLOT.size))
RESET_BYTES = len(RESET)
"""Settings the kernel shows only where they are not zero; they end the request."""

# what every request begins with, in one piece for speed: each 4s is the head of the attribute that follows
_FRONT = struct.Struct("=IIIIII4sq4sq16s4sII12s")
_LATENCY, _JITTER = attribute(TCA_NETEM_LATENCY64, bytes(8))[:4], attribute(TCA_NETEM_JITTER64, bytes(8))[:4]
_CORR = attribute(TCA_NETEM_CORR, bytes(CORR.size))
_REORDER = attribute(TCA_NETEM_REORDER, bytes(PAIR.size))[:4]
_CORRUPT = attribute(TCA_NETEM_CORRUPT, bytes(PAIR.size))


def encode_options(state: NetemState) -> bytes:
    """The payload of TCA_OPTIONS."""
    if state.latency_ns < 0 or not 0 <= state.jitter_ns <= JITTER_LIMIT_NS:
        raise ValueError(f"netem cannot hold {state}")
    front = _FRONT.pack(
        min(state.latency_ns >> PSCHED_SHIFT, U32_MAX),
        state.limit_packets,
        _share(state.loss),
        FIFO_GAP if state.reorder else 0,
        0,
        state.jitter_ns >> PSCHED_SHIFT,
        *(_LATENCY, state.latency_ns, _JITTER, state.jitter_ns),
        *(_CORR, _REORDER, _share(state.reorder), 0, _CORRUPT),
    )
    seed = b"" if state.seed is None else attribute(TCA_NETEM_PRNG_SEED, U64.pack(state.seed))
    return front + _rate_and_burst(state.rate_bytes_per_s, state.burst) + seed + RESET


@functools.lru_cache
def _rate_and_burst(rate: int, burst: tuple[float, float, float, float] | None) -> bytes:
    """What all links of an experiment mostly share, so that a step of a replay does not encode it for each."""
    parts = [attribute(TCA_NETEM_RATE, RATE.pack(min(rate, U32_MAX), 0, 0, 0))]
    if rate > U32_MAX:
        parts.insert(0, attribute(TCA_NETEM_RATE64, U64.pack(rate)))
    if burst is not None:
        p, r, loss_bad, loss_good = burst
        model = GEMODEL.pack(_share(p), _share(r), U32_MAX - _share(loss_bad), _share(loss_good))
        parts.append(attribute(TCA_NETEM_LOSS, attribute(NETEM_LOSS_GE, model)))
    return b"".join(parts)


def decode_options(options: bytes) -> tuple[NetemState, tuple[str, ...]]:
    """The state in a TCA_OPTIONS payload, and the names of settings in it that this testbed never asks for."""
    _, limit, loss, gap, duplicate, _ = QOPT.unpack_from(options)
    found = attributes(options, QOPT.size)
    reorder, reorder_correlation = _fields(PAIR, found, TCA_NETEM_REORDER)
    rate, *overheads = _fields(RATE, found, TCA_NETEM_RATE)
    if TCA_NETEM_RATE64 in found:
        (rate,) = U64.unpack(found[TCA_NETEM_RATE64])
    models = attributes(found.get(TCA_NETEM_LOSS, b""))
    burst = None
    if NETEM_LOSS_GE in models:
        p, r, h, k1 = GEMODEL.unpack(models[NETEM_LOSS_GE])
        burst = (p / U32_MAX, r / U32_MAX, (U32_MAX - h) / U32_MAX, k1 / U32_MAX)
    state = NetemState(
        latency_ns=U64.unpack(found[TCA_NETEM_LATENCY64])[0],
        limit_packets=limit,
        jitter_ns=U64.unpack(found[TCA_NETEM_JITTER64])[0],
        loss=loss / U32_MAX,
        burst=burst,
        reorder=reorder / U32_MAX if gap else 0.0,
        rate_bytes_per_s=rate,
        seed=U64.unpack(found[TCA_NETEM_PRNG_SEED])[0] if TCA_NETEM_PRNG_SEED in found else None,
    )
    foreign = {
        "duplicate": duplicate != 0,
        "gap": gap > FIFO_GAP,
        "correlation": any(_fields(CORR, found, TCA_NETEM_CORR)) or reorder_correlation != 0,
        "corrupt": any(_fields(PAIR, found, TCA_NETEM_CORRUPT)),
        "overhead": any(overheads),
        "loss state": bool(models) and burst is None,
        "ecn": any(found.get(TCA_NETEM_ECN, b"")),
        "slot": TCA_NETEM_SLOT in found and any(found[TCA_NETEM_SLOT]),
    }
    return state, tuple(name for name, present in foreign.items() if present)


def decode_qdisc(message: bytes) -> Qdisc:
    """An RTM_NEWQDISC message, as a dump or an echo brings it."""
    _, ifindex, handle, parent, _ = TC.unpack_from(message, HEADER.size)
    found = attributes(message, BODY)
    stats = attributes(found.get(TCA_STATS2, b""))
    packets = struct.unpack_from("=QI", stats[TCA_STATS_BASIC])[1] if TCA_STATS_BASIC in stats else 0
    if TCA_STATS_PKT64 in stats:
        (packets,) = U64.unpack(stats[TCA_STATS_PKT64])
    _, _, drops = struct.unpack_from("=III", stats.get(TCA_STATS_QUEUE, bytes(12)))  # after qlen and backlog
    kind = found[TCA_KIND].rstrip(b"\0").decode()
    return Qdisc(ifindex, handle, parent, kind, found.get(TCA_OPTIONS, b""), packets, drops)


def htb_direct_packets(qdisc: Qdisc) -> int:
    """Packets an htb let pass without a class."""
    glob = attributes(qdisc.options).get(TCA_HTB_INIT)
    return int(HTB_DIRECT_PACKETS.unpack_from(glob)[4]) if glob else 0


def differences(asked: bytes, shown: bytes) -> list[str]:
    """What two TCA_OPTIONS payloads of a netem disagree in; empty when they say the same in another order."""
    want, _ = decode_options(asked)
    have, foreign = decode_options(shown)
    told = [
        f"{name} {one} instead of {other}"
        for name, other, one in zip(NetemState._fields, want, have, strict=True)
        if one != other
    ]
    return told + [f"{name} set by another program" for name in foreign]


def _share(share: float) -> int:
    return round(share * U32_MAX) if share else 0


def _fields(shape: struct.Struct, found: dict[int, bytes], kind: int) -> tuple[int, ...]:
    """The numbers in an attribute; zeros where it is missing."""
    return shape.unpack_from(found.get(kind, bytes(shape.size)))
