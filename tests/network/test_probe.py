"""Statistics of a probe, and when links must not be trusted."""

import sys
import time
from collections.abc import Callable
from itertools import permutations

import pytest

from testbed.network.measure.probe import (
    CHECK,
    LOOK,
    SPARSE,
    Pace,
    PairSample,
    from_both_ends,
    interval_of,
    pooled_p99_error_ms,
    probe_links,
    summarise,
    verify,
)
from testbed.network.measure.terms import Terms
from testbed.network.measure.tolerances import MANY_PAIRS
from testbed.network.network import BASE_PROBES, FEWEST_PROBES, IDLE_PAIR_PROBES, Network
from testbed.network.spec.fabric import FabricDied, Link, Pair
from testbed.system import helper


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


def test_probes_that_start_at_either_node_are_those_of_both_directions() -> None:
    there = summarise(("a", "b"), 20.0, [(9_000_000, 11_000_000)], 2)
    back = summarise(("b", "a"), 20.0, [(11_500_000, 9_500_000), (11_700_000, 9_700_000)], 2)
    legs = [(9_000_000, 11_000_000), (9_500_000, 11_500_000), (9_700_000, 11_700_000)]
    assert from_both_ends([there, back]) == [
        summarise(("a", "b"), 20.0, legs, 4),
        summarise(("b", "a"), 20.0, [(b, a) for a, b in (*legs[1:], legs[0])], 4),
    ]


class Measured:
    """A network around n0 whose measuring process is made up: what was asked of it, and what it saw."""

    def __init__(self, nodes: int, seen_ms: Callable[[Pair, int], float] = lambda pair, turn: 2.5) -> None:
        names = [f"n{number}" for number in range(nodes)]
        self.pairs = list(permutations(names, 2))
        self.asked: list[tuple[int, int]] = []
        self.paces: list[Pace] = []
        self.network = object.__new__(Network)
        self.network.placement = dict.fromkeys(names, "here")
        self.network.links = [Link(a, b, 2.5) for a, b in self.pairs]
        many = len(self.pairs) > MANY_PAIRS
        self.network._used = frozenset(pair for pair in self.pairs if "n0" in pair) if many else None

        def probe_links(
            specified_ms: dict[Pair, float], count: int, slowest_bps: int | None, pace: Pace = CHECK
        ) -> list[PairSample]:
            self.asked.append((len(specified_ms), count))
            self.paces.append(pace)
            turn = len(self.asked)
            return [
                summarise(pair, ms, [(2_500_000, int(seen_ms(pair, turn) * 1e6))] * count, count)
                for pair, ms in specified_ms.items()
            ]

        self.network._probe_links = probe_links  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("nodes", [20, 65])
def test_where_there_are_many_every_pair_is_measured_by_few_packets_that_go_both_ways(nodes: int) -> None:
    many = Measured(nodes)
    found = many.network.probe(40)
    idle = (nodes - 1) * (nodes - 2)
    assert many.asked == [(idle // 2, FEWEST_PROBES), (nodes - 1, 40)]
    assert sorted((one.src, one.dst) for one in found) == sorted(many.pairs)
    assert {one.sent for one in found if "n0" in (one.src, one.dst)} == {40}
    assert Terms.of(many.network.links).reasons(found) == []


def test_after_a_run_a_few_pairs_of_each_node_stand_for_those_without_messages() -> None:
    """Nothing of the run went over them; each node and so each shaper is looked at with several partners."""
    many = Measured(65)
    found = many.network.probe(200, enough=100, again=True)
    (partners, few), used = many.asked
    assert (few, used) == (FEWEST_PROBES, (64, 100))
    assert partners <= 3 * 65
    ways = {(one.src, one.dst) for one in found}
    assert {pair for pair in many.pairs if "n0" in pair} <= ways
    for node in many.network.placement:
        assert sum(node in pair for pair in ways) >= 2 * 5
    again = many.network.probe(200, sparse=True, again=True)
    assert many.paces[-2:] == [LOOK, SPARSE]
    assert {(one.src, one.dst) for one in again} == ways


@pytest.mark.parametrize("nodes", [3, 65])
@pytest.mark.parametrize("dilation", [1.0, 4.0])
def test_what_a_probe_after_the_run_takes_is_known_before(nodes: int, dilation: float) -> None:
    many = Measured(nodes)
    many.network._dilation = dilation
    many.network.probe(200, enough=100, again=True)
    sent_s = [
        number * interval_of(pairs, pace, dilation)
        for (pairs, number), pace in zip(many.asked, many.paces, strict=True)
    ]
    rtt_s = 0.005
    assert many.network.lasts_s(100) == pytest.approx(dilation * (sum(sent_s) + rtt_s * len(sent_s)))


def test_an_idle_pair_that_few_packets_do_not_find_right_gets_more_and_loses_none() -> None:
    """One was late by chance, and is right by the median of all; one is wrong, and stays so."""

    def seen_ms(pair: Pair, turn: int) -> float:
        return 9.0 if pair == ("n3", "n4") or (pair == ("n5", "n6") and turn == 1) else 2.5

    many = Measured(20, seen_ms)
    found = {(one.src, one.dst): one for one in many.network.probe(40)}
    assert many.asked == [(171, FEWEST_PROBES), (2, IDLE_PAIR_PROBES), (19, 40)]
    assert many.paces == [LOOK, CHECK, CHECK]
    assert {found[pair].sent for pair in (("n3", "n4"), ("n5", "n6"), ("n6", "n5"))} == {
        FEWEST_PROBES + IDLE_PAIR_PROBES
    }
    wrong = Terms.of(many.network.links).reasons(list(found.values()))
    assert [reason.split(":")[0] for reason in wrong if "median" in reason] == ["link n3 -> n4", "link n4 -> n3"]


def test_a_base_path_takes_a_few_pairs_of_each_node_and_tells_all() -> None:
    many = Measured(65)
    found = many.network._probe_sample(dict.fromkeys(many.pairs, 0.0))
    (partners, few), used = many.asked
    assert (few, used) == (IDLE_PAIR_PROBES, (64, BASE_PROBES))
    assert partners <= 3 * 65
    assert len(found) == 2 * (partners + 64)


@pytest.mark.parametrize(
    ("late", "asked"),
    [
        (None, [(6, 100)]),
        (1, [(6, 100), (1, 200)]),  # in the first probes: they do not suffice
        (2, [(6, 100)]),
    ],
)
def test_fewer_probes_do_where_they_are_flawless(late: int | None, asked: list[tuple[int, int]]) -> None:
    """A late pair, in the measurement that `late` says, is measured further, and keeps what it had; others are not."""

    def seen_ms(pair: Pair, turn: int) -> float:
        return 6.0 if pair == ("n0", "n1") and turn == late else 2.5

    few = Measured(3, seen_ms)
    found = few.network.probe(300, enough=100)
    assert few.asked == asked
    sent = {**dict.fromkeys(few.pairs, 100), ("n0", "n1"): 300 if late == 1 else 100}
    assert {(one.src, one.dst): one.sent for one in found} == sent
    late_of = {(one.src, one.dst): sum(rtt > 8 for rtt in one.rtts_ms) for one in found}
    assert late_of == {**dict.fromkeys(few.pairs, 0), ("n0", "n1"): 100 if late == 1 else 0}
    few.network.probe(200, sparse=True)
    assert few.paces == [*[CHECK] * len(asked), SPARSE]


def test_a_base_path_of_a_few_nodes_is_measured_from_both_ends() -> None:
    few = Measured(3, lambda pair, turn: 2.6 if pair == ("n0", "n1") else 2.4)
    found = few.network._probe_sample(dict.fromkeys(few.pairs, 0.0))
    assert few.asked == [(6, BASE_PROBES // 2)]
    medians = {(one.src, one.dst): one.median_ms for one in found}
    assert medians["n0", "n1"] == medians["n1", "n0"] == pytest.approx(5.0)
    assert {one.sent for one in found} == {BASE_PROBES}


def test_a_probe_that_is_late_or_lost_is_a_flaw_and_so_are_losses_that_are_specified() -> None:
    links = [Link("a", "b", 5.0), Link("b", "a", 5.0)]
    good = sample(10.0, [10.0] * 99 + [11.9])
    assert Terms.of(links).flawless([good])
    assert not Terms.of(links).flawless([sample(10.0, [10.0] * 99 + [12.1])])
    assert Terms.of(links).reasons([sample(10.0, [10.0] * 99 + [12.1])]) == []
    assert not Terms.of(links).flawless([sample(10.0, [10.0] * 99, sent=100)])
    assert not Terms.of(links).flawless([sample(10.0, [10.5] * 100)])
    assert not Terms.of([Link("a", "b", 5.0, loss=0.001), links[1]]).flawless([good])


def test_whoever_measures_looks_around_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What dies while links are measured ends the measuring, and the measuring process with it."""
    sleeping = [sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(60)"]
    monkeypatch.setattr(helper, "ending_with_this", lambda module: sleeping)
    monkeypatch.setattr(helper, "LOOK_S", 0.05)

    def check() -> None:
        raise FabricDied("fabric relay: its process was killed (signal 9)")

    begun = time.monotonic()
    with pytest.raises(FabricDied):
        probe_links([], {}, 10, check=check)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("nodes", [4, 65])
def test_all_links_are_measured_as_often_as_asked_where_none_is_to_carry_messages(nodes: int) -> None:
    """As `testbed probe` does: of many, one packet measures both directions."""
    alone = Measured(nodes)
    if alone.network._used is not None:
        alone.network._used = frozenset()
    found = alone.network.probe_all(10)
    assert sum(pairs * count for pairs, count in alone.asked) == 10 * len(alone.pairs) // (1 if nodes == 4 else 2)
    assert sorted((one.src, one.dst) for one in found) == sorted(alone.pairs)
    assert {one.sent for one in found} == {10}
    assert Terms.of(alone.network.links).reasons(found) == []
