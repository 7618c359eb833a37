"""The qdisc plan is exact text: every pair delayed as asked, everything else counted and dropped (invariant 6)."""

import pytest

from testbed.errors import BadInput
from testbed.network.fabric import Link, Port
from testbed.network.plan import (
    delay_us,
    downlink_lines,
    format_delay,
    format_loss,
    limit_packets,
    plan_downlinks,
    plan_uplinks,
    undelayed,
    uplink_lines,
)

PORTS = [Port("a", 0, "10.77.0.1", 1), Port("b", 1, "10.77.0.2", 2)]


def device(port: Port) -> str:
    return f"r{port.index}"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (10.05, "10050us"),  # a known tool writes this one as 10.5 ms
        (0.0, "0us"),
        (0.001, "1us"),
        (0.0004, "0us"),
        (0.29, "290us"),  # 0.29 * 1000 is 289.99999999999994 in binary
        (5.0, "5000us"),
        (186.747, "186747us"),
        (1e-5, "0us"),
        (59_999.999, "59999999us"),
    ],
)
def test_delay_is_written_in_whole_microseconds(ms: float, text: str) -> None:
    assert format_delay(delay_us(ms)) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (0.005, "0.5%"), (0.1, "10%"), (1.0, "100%"), (1e-6, "0.0001%")]
)
def test_loss_is_written_as_a_percentage(share: float, text: str) -> None:
    assert format_loss(share) == text


def test_limit_holds_one_and_a_half_times_what_is_in_flight_and_never_the_default() -> None:
    assert limit_packets(None, 0) == 10_000
    assert limit_packets(1_000_000, 50_000) == 10_000
    in_flight = 10_000_000_000 * 0.2 / 8 / 1514
    assert limit_packets(None, 200_000) >= 1.5 * in_flight


def test_creating_a_downlink_is_exactly_this_batch() -> None:
    plan = plan_downlinks(PORTS, [Link("a", "b", 10.05, loss=0.01), Link("b", "a", 7.0)], device)
    assert downlink_lines([plan[1]], "add") == [
        "qdisc add dev r1 root handle 1: htb default 0x2",
        "class add dev r1 parent 1: classid 1:2 htb rate 10000000000bit ceil 10000000000bit "
        "burst 1000000b cburst 1000000b quantum 60000",
        "qdisc add dev r1 parent 1:2 handle 2: pfifo limit 0",
        "class add dev r1 parent 1: classid 1:100 htb rate 10000000000bit ceil 10000000000bit "
        "burst 1000000b cburst 1000000b quantum 60000",
        "qdisc add dev r1 parent 1:100 handle 100: netem limit 12447 delay 10050us loss 1%",
        "filter add dev r1 parent 1: protocol ip prio 1 handle 800::1 u32 match ip src 10.77.0.1/32 flowid 1:100",
    ]


def test_a_change_resends_every_leaf_whole_and_keeps_its_handle() -> None:
    plan = plan_downlinks(PORTS, [Link("a", "b", 1.0), Link("b", "a", 2.0)], device)
    assert downlink_lines(plan, "change") == [
        "qdisc change dev r0 parent 1:101 handle 101: netem limit 10000 delay 2000us loss 0%",
        "qdisc change dev r1 parent 1:100 handle 100: netem limit 10000 delay 1000us loss 0%",
    ]


def test_every_pair_has_one_leaf_and_one_filter_at_its_receiver() -> None:
    ports = [Port(f"n{i}", i, f"10.77.0.{i + 1}", 1) for i in range(5)]
    lines = downlink_lines(plan_downlinks(ports, undelayed(ports), device), "add")
    assert sum(" netem " in line for line in lines) == 20
    assert len({line for line in lines if line.startswith("filter")}) == 20
    for port in ports:
        assert not any(f"dev r{port.index} " in line and f"{port.address}/32" in line for line in lines)


def test_a_pfifo_leaf_refuses_to_stand_for_a_delay() -> None:
    plan = plan_downlinks(PORTS, [Link("a", "b", 1.0), Link("b", "a", 0.0)], device)
    with pytest.raises(ValueError, match="pfifo"):
        downlink_lines(plan, "add", "pfifo")


def test_rate_is_a_stage_of_its_own_at_the_sender() -> None:
    links = [Link("a", "b", 1.0, rate_bps=10_000_000), Link("b", "a", 1.0)]
    (uplink,) = plan_uplinks(PORTS, links)
    assert uplink.src == "a"
    assert uplink_lines(uplink, "change") == [
        "class change dev eth0 parent 1: classid 1:101 htb rate 10000000bit ceil 10000000bit "
        "burst 3028b cburst 3028b quantum 60000",
        "qdisc change dev eth0 parent 1:101 handle 101: bfifo limit 62500",
    ]
    assert "rate" not in " ".join(line for line in downlink_lines(plan_downlinks(PORTS, links, device), "change"))


def test_a_standing_rate_stage_is_opened_not_forgotten() -> None:
    (uplink,) = plan_uplinks(PORTS, undelayed(PORTS), standing={"a"})
    assert "rate 10000000000bit" in uplink_lines(uplink, "change")[0]


@pytest.mark.parametrize(
    ("links", "says"),
    [
        ([Link("a", "b", 1.0)], "b -> a: missing"),
        ([Link("a", "b", 1.0), Link("b", "a", 1.0), Link("a", "b", 2.0)], "given twice"),
        ([Link("a", "b", -1.0), Link("b", "a", 1.0)], "one_way_ms is -1.0"),
        ([Link("a", "b", float("nan")), Link("b", "a", 1.0)], "one_way_ms is nan"),
        ([Link("a", "b", 1.0, loss=2.0), Link("b", "a", 1.0)], "loss is 2.0"),
        ([Link("a", "b", 1.0, rate_bps=0), Link("b", "a", 1.0)], "rate_bps is 0"),
        ([Link("a", "c", 1.0), Link("b", "a", 1.0)], "both ends must be different nodes"),
    ],
)
def test_links_that_are_not_one_sane_link_per_pair_are_refused(links: list[Link], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        plan_downlinks(PORTS, links, device)
