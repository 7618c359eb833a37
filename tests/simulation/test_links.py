"""Links in virtual time: in order always, with the delay, rate, jitter and loss they are given."""

import statistics

import pytest

from testbed.errors import BadInput
from testbed.network.spec.fabric import BurstLoss
from testbed.network.spec.topology import BurstLossShares, load_topology
from testbed.simulation.links import LinkSpec, SimulatedLink, link_specs, make_links

MS = 1_000_000
RTT_NS = 20 * MS


def link(spec, seed="a"):
    return SimulatedLink(spec, RTT_NS, seed)


def test_a_constant_link_delays_every_message_by_the_same_whole_microseconds():
    one = link(LinkSpec(10.0004))
    assert [one.arrival_ns(at, 100) - at for at in (0, 1, 5 * MS)] == [10_000_000] * 3


@pytest.mark.parametrize(
    "spec",
    [
        LinkSpec(10.0, jitter_ms=9.0),
        LinkSpec(10.0, loss=0.3),
        LinkSpec(10.0, series=lambda now_ns: (30 * MS - now_ns) if now_ns < 25 * MS else MS),
        LinkSpec(10.0, burst_loss=BurstLoss(0.1, 0.5)),
        LinkSpec(10.0, reorder=0.3),
        LinkSpec(10.0, jitter_ms=3.0, loss=0.1, rate_bps=1_000_000, reorder=0.2),
    ],
    ids=["jitter", "loss", "falling delay", "burst loss", "reordering", "all"],
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


def test_burst_loss_is_the_chain_of_the_emulated_links_one_step_a_transmission():
    """With p = 1 and r = 1 the chain alternates: every second transmission is lost, and none twice in a row."""
    one = link(LinkSpec(10.0, burst_loss=BurstLoss(1.0, 1.0)))
    rto = RTT_NS + 200 * MS
    delays = [one.arrival_ns(at, 100) - at for at in (n * 10**13 for n in range(6))]
    assert delays == [10 * MS] + [10 * MS + rto] * 5  # the first finds the good state, its successors the bad one


def test_burst_loss_delays_as_many_messages_as_its_shares_say():
    p, r, count = 0.05, 0.5, 4000
    one = link(LinkSpec(10.0, burst_loss=BurstLoss(p, r)))
    delayed = sum(one.arrival_ns(at, 1) - at > 10 * MS for at in (n * 10**13 for n in range(count)))
    # every message ends on a good state, so the next one finds the bad state with probability p
    assert delayed == pytest.approx(p * count, abs=4 * (count * p * (1 - p)) ** 0.5)


def test_a_reordered_message_is_sent_without_the_delay_but_never_before_an_earlier_one():
    apart = link(LinkSpec(10.0, reorder=0.3))
    delays = [apart.arrival_ns(at, 1) - at for at in (n * 100 * MS for n in range(1000))]
    assert set(delays) == {0, 10 * MS}
    assert delays.count(0) == pytest.approx(300, abs=4 * (1000 * 0.3 * 0.7) ** 0.5)


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"burst_loss": {"near": {"far": BurstLossShares(p=0.1, r=0.0)}}}, "nothing would arrive"),
        ({"rate_bps": {"near": {"far": 10**6}}, "buffer_ms": {"near": {"far": 5.0}}}, "have unlimited buffers"),
    ],
)
def test_what_a_simulated_link_cannot_do_is_refused(update, words):
    with pytest.raises(BadInput, match=f"near -> far.*{words}"):
        link_specs(load_topology("two-sites").model_copy(update=update), {"a": "near", "b": "far"})


def test_the_topology_s_burst_loss_and_reordering_reach_the_links():
    topology = load_topology("two-sites").with_effects({"burst_loss": BurstLossShares(p=0.1, r=0.2), "reorder": 0.3})
    specs = link_specs(topology, {"a": "near", "b": "far", "c": "far"})
    assert (specs["a", "b"].burst_loss, specs["a", "b"].reorder) == (BurstLoss(0.1, 0.2), 0.3)
    assert (specs["b", "c"].burst_loss, specs["b", "c"].reorder) == (None, 0.0)
    assert specs["a", "b"].varies and not specs["b", "c"].varies


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
