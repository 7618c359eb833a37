"""Links in virtual time: in order always, with the delay, rate, jitter and loss they are given."""

import statistics

import pytest

from testbed.errors import BadInput
from testbed.network.topology import load_topology
from testbed.simulation.links import Link, LinkSpec, link_specs, make_links

MS = 1_000_000
RTT_NS = 20 * MS


def link(spec, seed="a"):
    return Link(spec, RTT_NS, seed)


def test_a_constant_link_delays_every_message_by_the_same_whole_microseconds():
    one = link(LinkSpec(10.0004))
    assert [one.arrival_ns(at, 100) - at for at in (0, 1, 5 * MS)] == [10_000_000] * 3


@pytest.mark.parametrize(
    "spec",
    [
        LinkSpec(10.0, jitter_ms=9.0),
        LinkSpec(10.0, loss=0.3),
        LinkSpec(10.0, series=lambda now_ns: (30 * MS - now_ns) if now_ns < 25 * MS else MS),
        LinkSpec(10.0, jitter_ms=3.0, loss=0.1, rate_bps=1_000_000),
    ],
    ids=["jitter", "loss", "falling delay", "all"],
)
def test_messages_never_overtake_one_another(spec):
    one = link(spec)
    arrivals = [one.arrival_ns(at * MS, 200) for at in range(500)]
    assert arrivals == sorted(arrivals)
    assert all(arrival >= at * MS for at, arrival in enumerate(arrivals))


def test_bandwidth_serialises_back_to_back_messages():
    one = link(LinkSpec(5.0, rate_bps=8_000_000))  # a byte a microsecond
    assert [one.arrival_ns(0, 1000) for _ in range(3)] == [6 * MS, 7 * MS, 8 * MS]
    assert one.arrival_ns(50 * MS, 500) == 55_500_000  # an idle link starts at once


def test_a_lost_message_comes_one_retransmission_timeout_later_doubled_for_each_further_loss():
    one = link(LinkSpec(10.0, loss=0.5), seed="b")
    rto = RTT_NS + 200 * MS
    allowed = {10 * MS + rto * (2**losses - 1) for losses in range(11)}
    delays = [one.arrival_ns(at, 100) - at for at in (n * 10**13 for n in range(400))]
    assert set(delays) <= allowed
    lost = sum(delay > 10 * MS for delay in delays)
    assert 160 <= lost <= 240  # 400 fair coins: 200, 4 standard deviations to each side
    assert delays.count(10 * MS + rto) > delays.count(10 * MS + 3 * rto) > 0


def test_what_follows_a_lost_message_waits_for_it():
    spec = LinkSpec(10.0, loss=0.5)
    seed = next(seed for seed in "abcdef" if link(spec, seed).arrival_ns(0, 1) > 10 * MS)
    one = link(spec, seed)
    first = one.arrival_ns(0, 1)
    assert one.arrival_ns(MS, 1) >= first > 200 * MS


def test_jitter_is_centred_on_the_delay_and_bounded():
    one = link(LinkSpec(10.0, jitter_ms=2.0))
    delays = [one.arrival_ns(at, 1) - at for at in (n * 100 * MS for n in range(1000))]
    assert all(8 * MS <= delay <= 12 * MS for delay in delays)
    assert statistics.mean(delays) == pytest.approx(10 * MS, abs=4 * 2 * MS / 3**0.5 / 1000**0.5)


def test_a_series_gives_the_delay_of_the_moment():
    one = link(LinkSpec(0.0, series=lambda now_ns: 10 * MS if now_ns < 100 * MS else 30 * MS))
    assert one.arrival_ns(0, 1) == 10 * MS
    assert one.arrival_ns(100 * MS, 1) == 130 * MS


def test_equal_seeds_give_equal_links_and_links_are_independent():
    specs = {("a", "b"): LinkSpec(5.0, jitter_ms=2.0), ("b", "a"): LinkSpec(5.0, jitter_ms=2.0)}
    one, same, other = make_links(specs, 1), make_links(specs, 1), make_links(specs, 2)

    def trace(links, pair):
        return [links[pair].arrival_ns(n * 100 * MS, 1) for n in range(20)]

    forward = trace(one, ("a", "b"))
    trace(same, ("b", "a"))  # traffic the other way moves nothing
    assert trace(same, ("a", "b")) == forward != trace(other, ("a", "b"))
    assert trace(one, ("b", "a")) != forward


def test_the_topology_decides_the_links_also_inside_a_site():
    placement = {"user0": "near", "target0": "near", "drafter0": "far"}
    specs = link_specs(load_topology("two-sites"), placement)
    assert specs["user0", "target0"].one_way_ms == 0.5
    assert specs["target0", "drafter0"].one_way_ms == 10.0
    assert len(specs) == 6


def test_a_link_that_loses_everything_is_refused():
    topology = load_topology("two-sites").model_copy(update={"loss": {"near": {"far": 1.0}}})
    with pytest.raises(BadInput, match="near -> far"):
        link_specs(topology, {"a": "near", "b": "far"})
