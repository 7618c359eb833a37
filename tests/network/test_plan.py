"""The qdisc plan is exact text: every pair delayed as asked, everything else counted and dropped (invariant 6)."""

import pytest

from testbed.errors import BadInput
from testbed.network.netem.plan import (
    check_links,
    downlink_lines,
    limit_packets,
    plan_downlinks,
    plan_uplinks,
    rate_buffer_bytes,
    undelayed,
    uplink_lines,
)
from testbed.network.spec.fabric import BurstLoss, Link, Port, delay_us

PORTS = [Port("a", 0, "10.77.0.1", 1), Port("b", 1, "10.77.0.2", 2)]


def device(port: Port) -> str:
    return f"r{port.index}"


@pytest.mark.parametrize(
    ("ms", "microseconds"),
    [
        (10.05, 10_050),
        (0.0, 0),
        (0.001, 1),
        (0.0004, 0),
        (0.29, 290),  # 0.29 * 1000 is 289.99999999999994 in binary
        (186.747, 186_747),
        (59_999.999, 59_999_999),
    ],
)
def test_delay_in_whole_microseconds_is_the_nearest(ms: float, microseconds: int) -> None:
    assert delay_us(ms) == microseconds


def test_limit_holds_one_and_a_half_times_what_is_in_flight_and_never_the_default() -> None:
    assert limit_packets(None, 0) == 10_000
    assert limit_packets(1_000_000, 50_000) == 10_000
    in_flight = 10_000_000_000 * 0.2 / 8 / 1514
    assert limit_packets(None, 200_000) >= 1.5 * in_flight


def test_creating_a_downlink_is_exactly_this_batch() -> None:
    plan = plan_downlinks(PORTS, device)
    assert downlink_lines([plan[1]]) == [
        "qdisc add dev r1 root handle 1: htb default 0x2",
        "class add dev r1 parent 1: classid 1:2 htb rate 10000000000bit ceil 10000000000bit "
        "burst 1000000b cburst 1000000b quantum 60000",
        "qdisc add dev r1 parent 1:2 handle 2: pfifo limit 0",
        "class add dev r1 parent 1: classid 1:100 htb rate 10000000000bit ceil 10000000000bit "
        "burst 1000000b cburst 1000000b quantum 60000",
        "qdisc add dev r1 parent 1:100 handle 100: netem limit 10000",
        "filter add dev r1 parent 1: protocol ip prio 1 handle 800::1 u32 match ip src 10.77.0.1/32 flowid 1:100",
    ]


def test_every_pair_has_one_leaf_and_one_filter_at_its_receiver() -> None:
    ports = [Port(f"n{i}", i, f"10.77.0.{i + 1}", 1) for i in range(5)]
    lines = downlink_lines(plan_downlinks(ports, device))
    assert sum(" netem " in line for line in lines) == 20
    assert len({line for line in lines if line.startswith("filter")}) == 20
    for port in ports:
        assert not any(f"dev r{port.index} " in line and f"{port.address}/32" in line for line in lines)


def test_rate_is_a_stage_of_its_own_at_the_sender() -> None:
    links = [Link("a", "b", 1.0, rate_bps=10_000_000), Link("b", "a", 1.0)]
    (uplink,) = plan_uplinks(PORTS, links)
    assert uplink.src == "a"
    assert uplink_lines(uplink, "change") == [
        "class change dev eth0 parent 1: classid 1:101 htb rate 10000000bit ceil 10000000bit "
        "burst 3028b cburst 3028b quantum 60000",
        "qdisc change dev eth0 parent 1:101 handle 101: bfifo limit 62500",
    ]


def test_a_standing_rate_stage_is_opened_not_forgotten() -> None:
    (uplink,) = plan_uplinks(PORTS, undelayed(PORTS), standing={"a"})
    assert "rate 10000000000bit" in uplink_lines(uplink, "change")[0]


def test_a_change_needs_no_complete_matrix_but_sane_links() -> None:
    some = [Link("b", "a", 3.0)]
    assert check_links(PORTS, some, complete=False) == {("b", "a"): some[0]}
    with pytest.raises(BadInput, match="one_way_ms is -1"):
        check_links(PORTS, [Link("b", "a", -1)], complete=False)


def test_the_rate_s_buffer_is_the_link_s_own_or_fifty_milliseconds() -> None:
    assert rate_buffer_bytes(Link("a", "b", 1.0, rate_bps=8_000_000)) == 50_000
    assert rate_buffer_bytes(Link("a", "b", 1.0, rate_bps=8_000_000, buffer_bytes=2000)) == 2000
    assert rate_buffer_bytes(Link("a", "b", 1.0, rate_bps=8_000)) == 15_140  # never less than ten packets by itself


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ([Link("a", "b", 1.0)], "b -> a: missing"),
        ([Link("a", "b", 1.0), Link("b", "a", 1.0), Link("a", "b", 2.0)], "given twice"),
        ([Link("a", "b", -1.0), Link("b", "a", 1.0)], "one_way_ms is -1.0"),
        ([Link("a", "b", float("nan")), Link("b", "a", 1.0)], "one_way_ms is nan"),
        ([Link("a", "b", 1.0, loss=2.0), Link("b", "a", 1.0)], "loss is 2.0"),
        ([Link("a", "b", 1.0, rate_bps=0), Link("b", "a", 1.0)], "rate_bps is 0"),
        ([Link("a", "b", 1.0, jitter_ms=-1.0), Link("b", "a", 1.0)], "jitter_ms is -1.0"),
        ([Link("a", "b", 1.0, reorder=1.5), Link("b", "a", 1.0)], "reorder is 1.5"),
        ([Link("a", "b", 1.0, burst_loss=BurstLoss(0.1, 2.0)), Link("b", "a", 1.0)], "burst_loss.r is 2.0"),
        ([Link("a", "b", 1.0, 0.1, burst_loss=BurstLoss(0.1, 0.2)), Link("b", "a", 1.0)], "exclude each other"),
        ([Link("a", "b", 1.0, buffer_bytes=5000), Link("b", "a", 1.0)], "buffer_bytes without rate_bps"),
        ([Link("a", "b", 1.0, rate_bps=10**6, buffer_bytes=9), Link("b", "a", 1.0)], "buffer_bytes is 9"),
        ([Link("a", "c", 1.0), Link("b", "a", 1.0)], "both ends must be different nodes"),
    ],
)
def test_links_that_are_not_one_sane_link_per_pair_are_refused(links: list[Link], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        check_links(PORTS, links)
