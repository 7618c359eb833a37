"""Statistics of a probe, and when links must not be trusted."""

from itertools import permutations

import pytest

from testbed.network.measure.probe import PairSample, pooled_p99_error_ms, summarise, verify
from testbed.network.network import Network
from testbed.network.spec.fabric import Pair


def sample(specified_ms: float, rtts_ms: list[float], sent: int | None = None) -> PairSample:
    legs = [(int(rtt * 1e6) // 2, int(rtt * 1e6) - int(rtt * 1e6) // 2) for rtt in rtts_ms]
    return summarise(("a", "b"), specified_ms, legs, sent or len(rtts_ms))


def test_rtt_is_the_sum_of_both_ways_and_one_way_the_forward_one() -> None:
    result = summarise(("a", "b"), 30.0, [(10_000_000, 20_000_000)] * 3, 3)
    assert (result.median_ms, result.one_way_median_ms, result.error_ms) == (30.0, 10.0, 0.0)


def test_the_99th_percentile_is_undefined_below_a_hundred_probes() -> None:
    assert sample(10.0, [10.0] * 99).p99_ms is None
    assert sample(10.0, [10.0] * 98 + [15.0, 99.0]).p99_ms == 15.0


def test_links_within_tolerance_are_trusted() -> None:
    assert verify([sample(10.0, [10.29] * 100), sample(100.0, [100.9] * 100)]) == []


def test_a_median_off_by_more_than_a_third_of_a_millisecond_and_one_percent_is_named() -> None:
    assert "a -> b: median RTT 10.31 ms, specified 10.00" in verify([sample(10.0, [10.31] * 10)])[0]
    assert len(verify([sample(100.0, [98.9] * 10)])) == 1


def test_a_slow_tail_is_named_per_pair_and_over_all() -> None:
    tail = sample(10.0, [10.0] * 95 + [13.0] * 5)
    assert len(verify([tail])) == 2
    few = [sample(10.0, [10.0] * 19 + [13.0])] * 5  # too few for a pair, enough together
    assert verify(few) == ["links: 99th percentile of RTT error 3.00 ms, tolerance 2.00 ms"]


def test_loss_is_named_unless_it_was_asked_for() -> None:
    lost = sample(10.0, [10.0] * 9, sent=10)
    assert verify([lost]) == ["link a -> b: 1 of 10 probes lost"]
    assert verify([lost], lossy={("a", "b")}) == []


def test_a_dead_link_has_no_times_and_is_not_trusted() -> None:
    dead = sample(10.0, [], sent=10)
    assert (dead.median_ms, dead.p99_ms, dead.error_ms) == (None, None, None)
    assert verify([dead]) == ["link a -> b: 10 of 10 probes lost"]
    assert pooled_p99_error_ms([dead]) is None


def test_a_pair_is_known_from_both_ends_by_the_same_packets() -> None:
    legs = [(10_000_000, 10_400_000), (10_200_000, 10_300_000), (10_100_000, 10_900_000)]
    back = [(backward, forward) for forward, backward in legs]
    assert summarise(("a", "b"), 20.0, legs, 4).seen_from_there() == summarise(("b", "a"), 20.0, back, 4)
    assert summarise(("a", "b"), 20.0, [], 4).seen_from_there() == summarise(("b", "a"), 20.0, [], 4)


@pytest.mark.parametrize(("nodes", "probes"), [(20, 10), (65, 10), (250, 7)])
def test_pairs_without_messages_are_probed_one_way_and_less_where_they_are_many(nodes: int, probes: int) -> None:
    """Each is still there in both directions, in its place."""
    names = [f"n{number}" for number in range(nodes)]
    pairs = dict.fromkeys(permutations(names, 2), 5.0)
    network, asked = object.__new__(Network), []
    network._used = frozenset(pair for pair in pairs if "n0" in pair)

    def probe_links(specified_ms: dict[Pair, float], count: int, slowest_bps: int | None) -> list[PairSample]:
        asked.append((len(specified_ms), count))
        return [summarise(pair, ms, [(2_500_000, 2_500_000)] * count, count) for pair, ms in specified_ms.items()]

    network._probe_links = probe_links  # type: ignore[method-assign,assignment]
    found = network._measure(pairs, 40)
    idle = (nodes - 1) * (nodes - 2)
    assert asked == [(idle // 2, probes), (2 * (nodes - 1), 40)]
    assert sorted((one.src, one.dst) for one in found) == sorted(pairs)
    assert {one.sent for one in found if "n0" in (one.src, one.dst)} == {40}
