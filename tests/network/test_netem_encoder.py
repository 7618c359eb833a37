"""netem's settings are exactly these bytes, written here by hand from the structs of linux/pkt_sched.h."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.network.netem.encoder import (
    RESET_BYTES,
    NetemState,
    decode_options,
    decode_qdisc,
    differences,
    encode_options,
    htb_direct_packets,
)
from testbed.system.netlink import RTM_NEWQDISC, attribute, qdisc_request

WHOLE = 0xFFFFFFFF


def expected(
    qopt: tuple[int, int, int, int, int, int],
    latency: int,
    jitter: int = 0,
    reorder: int = 0,
    rate: int = 0,
    rate64: int | None = None,
    burst: tuple[int, int, int, int] | None = None,
    seed: int | None = None,
) -> bytes:
    """Attributes by their numbers in `enum { TCA_NETEM_UNSPEC, TCA_NETEM_CORR, ... }` (linux/pkt_sched.h)."""
    text = struct.pack("=IIIIII", *qopt)  # struct tc_netem_qopt
    text += struct.pack("=HHq", 12, 10, latency)  # TCA_NETEM_LATENCY64
    text += struct.pack("=HHq", 12, 11, jitter)  # TCA_NETEM_JITTER64
    text += struct.pack("=HHIII", 16, 1, 0, 0, 0)  # TCA_NETEM_CORR, struct tc_netem_corr
    text += struct.pack("=HHII", 12, 3, reorder, 0)  # TCA_NETEM_REORDER, struct tc_netem_reorder
    text += struct.pack("=HHII", 12, 4, 0, 0)  # TCA_NETEM_CORRUPT, struct tc_netem_corrupt
    if rate64 is not None:
        text += struct.pack("=HHQ", 12, 8, rate64)  # TCA_NETEM_RATE64
    text += struct.pack("=HHIiIi", 20, 6, rate, 0, 0, 0)  # TCA_NETEM_RATE, struct tc_netem_rate
    if burst is not None:  # TCA_NETEM_LOSS holds NETEM_LOSS_GE (2), struct tc_netem_gemodel
        text += struct.pack("=HHHHIIII", 24, 5, 20, 2, *burst)
    if seed is not None:
        text += struct.pack("=HHQ", 12, 14, seed)  # TCA_NETEM_PRNG_SEED, kernel 6.6
    text += struct.pack("=HHI", 8, 7, 0)  # TCA_NETEM_ECN
    text += struct.pack("=HHqqiiqq", 44, 12, 0, 0, 0, 0, 0, 0)  # TCA_NETEM_SLOT, struct tc_netem_slot
    return text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (NetemState(), expected((0, 1000, 0, 0, 0, 0), 0)),
        # 10,000,001 ns: ticks of 64 ns in the classic field, the nanosecond in the other
        (NetemState(10_000_001, 20_000), expected((156_250, 20_000, 0, 0, 0, 0), 10_000_001)),
        (NetemState(loss=1.0), expected((0, 1000, WHOLE, 0, 0, 0), 0)),
        (NetemState(loss=0.5), expected((0, 1000, 0x80000000, 0, 0, 0), 0)),
        (NetemState(640, jitter_ns=128), expected((10, 1000, 0, 0, 0, 2), 640, 128)),
        (NetemState(64, reorder=1.0), expected((1, 1000, 0, 1, 0, 0), 64, reorder=WHOLE)),
        (NetemState(rate_bytes_per_s=1_250_000), expected((0, 1000, 0, 0, 0, 0), 0, rate=1_250_000)),
        (NetemState(rate_bytes_per_s=5 << 30), expected((0, 1000, 0, 0, 0, 0), 0, rate=WHOLE, rate64=5 << 30)),
        # h and k1 are the shares that pass while bad, and that are lost while good (loss_gilb_ell, sch_netem.c)
        (
            NetemState(burst=(1.0, 0.5, 1.0, 0.0)),
            expected((0, 1000, 0, 0, 0, 0), 0, burst=(WHOLE, 0x80000000, 0, 0)),
        ),
        (
            NetemState(burst=(0.0, 1.0, 0.0, 1.0)),
            expected((0, 1000, 0, 0, 0, 0), 0, burst=(0, WHOLE, WHOLE, WHOLE)),
        ),
        (NetemState(seed=2**64 - 1), expected((0, 1000, 0, 0, 0, 0), 0, seed=2**64 - 1)),
    ],
)
def test_a_state_is_exactly_these_bytes(state: NetemState, text: bytes) -> None:
    assert encode_options(state) == text


def test_every_sticky_setting_is_in_every_request() -> None:
    """The kernel keeps what a change leaves out: a request without a rate must say so."""
    kinds = {1, 3, 4, 6, 7, 10, 11, 12}
    text, start, found = encode_options(NetemState()), 24, set()
    while start < len(text):
        length, kind = struct.unpack_from("=HH", text, start)
        found.add(kind)
        start += length
    assert found == kinds
    assert RESET_BYTES == 8 + 44


share = st.integers(0, WHOLE).map(lambda number: number / WHOLE)
states = st.builds(
    NetemState,
    latency_ns=st.integers(0, 60 * 10**9),
    limit_packets=st.integers(1, WHOLE),
    jitter_ns=st.integers(0, 2**31 - 1),
    loss=share,
    burst=st.none() | st.tuples(share, share, share, share),
    reorder=share,
    rate_bytes_per_s=st.integers(0, 2**40),
    seed=st.none() | st.integers(0, 2**64 - 1),
)


@given(states)
def test_what_is_encoded_comes_back(state: NetemState) -> None:
    assert decode_options(encode_options(state)) == (state, ())
    assert differences(encode_options(state), encode_options(state)) == []


@given(states, states)
def test_no_two_different_states_pass_as_the_same(asked: NetemState, shown: NetemState) -> None:
    assert bool(differences(encode_options(asked), encode_options(shown))) is (asked != shown)


def test_a_difference_names_the_setting_and_both_values() -> None:
    told = differences(encode_options(NetemState(5_000_000)), encode_options(NetemState(4_000_000, loss=1.0)))
    assert told == ["latency_ns 4000000 instead of 5000000", "loss 1.0 instead of 0.0"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("duplicate", struct.pack("=IIIIII", 0, 1000, 0, 0, 5, 0)),
        ("correlation", struct.pack("=HHIII", 16, 1, 0, 9, 0)),
        ("corrupt", struct.pack("=HHII", 12, 4, 9, 0)),
        ("ecn", struct.pack("=HHI", 8, 7, 1)),
        ("slot", struct.pack("=HHqqiiqq", 44, 12, 1000, 0, 0, 0, 0, 0)),
    ],
)
def test_what_somebody_else_has_set_is_named(name: str, options: bytes) -> None:
    plain = encode_options(NetemState())
    shown = options + plain[24:] if name == "duplicate" else plain + options
    assert differences(plain, shown) == [f"{name} set by another program"]


@pytest.mark.parametrize("state", [NetemState(-1), NetemState(jitter_ns=1 << 31)])
def test_a_state_that_the_kernel_would_bend_is_refused(state: NetemState) -> None:
    with pytest.raises(ValueError, match="netem cannot hold"):
        encode_options(state)


def test_a_qdisc_comes_with_its_counters() -> None:
    """struct gnet_stats_basic and gnet_stats_queue of linux/gen_stats.h."""
    basic = struct.pack("=QI4x", 98_000, 1000)
    queue = struct.pack("=IIIII", 12, 1176, 34, 0, 0)  # qlen, backlog, drops, requeues, overlimits
    rest = attribute(1, b"netem\0") + attribute(2, b"opts") + attribute(7, attribute(1, basic) + attribute(3, queue))
    qdisc = decode_qdisc(qdisc_request(RTM_NEWQDISC, 0, 0, 4, 0x1010000, 0x10101, rest))
    assert (qdisc.ifindex, qdisc.handle, qdisc.parent, qdisc.kind) == (4, 0x1010000, 0x10101, "netem")
    assert (qdisc.options, qdisc.packets, qdisc.drops) == (b"opts", 1000, 34)


def test_packets_beyond_32_bits_are_counted_on() -> None:
    stats = attribute(1, struct.pack("=QI4x", 0, 5)) + attribute(8, struct.pack("=Q", (1 << 32) + 5))
    rest = attribute(1, b"netem\0") + attribute(7, stats)
    assert decode_qdisc(qdisc_request(RTM_NEWQDISC, 0, 0, 4, 0, 0, rest)).packets == (1 << 32) + 5


def test_packets_that_an_htb_let_pass_are_seen() -> None:
    """struct tc_htb_glob of linux/pkt_sched.h: version, rate2quantum, defcls, debug, direct_pkts."""
    options = attribute(2, struct.pack("=IIIII", 3, 10, 2, 0, 77))  # TCA_HTB_INIT
    rest = attribute(1, b"htb\0") + attribute(2, options)
    assert htb_direct_packets(decode_qdisc(qdisc_request(RTM_NEWQDISC, 0, 0, 4, 0, 0, rest))) == 77
