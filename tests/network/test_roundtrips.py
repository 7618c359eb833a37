"""What the checks expect of links whose packets differ by chance: held against packets drawn by those laws."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.experiment.links import LEAST_EMULATED_BPS, refuse_unmeasurable
from testbed.network.measure.probe import PairSample, beyond_law, summarise, verify
from testbed.network.measure.probe_process import PACKET
from testbed.network.measure.roundtrips import PROBE_BYTES, PROBES_SHARE, Leg, expected, interval_s
from testbed.network.measure.terms import leg_of
from testbed.network.relay.impair import Chances, Fates
from testbed.network.spec.fabric import BurstLoss, Link
from testbed.network.spec.schedule import PairEvent, PairSchedule
from testbed.network.spec.topology import Topology, load_topology

LINKS = [
    (Leg(5.73, reorder=0.5), Leg(5.73, reorder=0.5)),
    (Leg(5.73, jitter_ms=5.0, reorder=0.5), Leg(5.73, jitter_ms=5.0, reorder=0.5)),
    (Leg(10.0, reorder=1.0), Leg(10.0)),
    (Leg(20.0, reorder=0.5), Leg(20.0)),
    (Leg(1.0, jitter_ms=10.0), Leg(1.0, jitter_ms=10.0)),  # more jitter than delay: nothing is below 0
    (Leg(30.0, rate_bps=64_000), Leg(10.0, rate_bps=1_000_000)),
    (Leg(10.0, loss=0.3), Leg(2.0, jitter_ms=1.0, loss=0.2)),
]


def drawn(there: Leg, back: Leg, count: int, seed: int) -> PairSample:
    """Probes over these links, as their fabrics treat packets."""
    chance = random.Random(seed)

    def leg(one: Leg) -> float | None:
        if chance.random() < one.loss:
            return None
        if chance.random() < one.reorder:
            return one.bits_ms
        return one.bits_ms + max(0.0, one.one_way_ms + chance.uniform(-one.jitter_ms, one.jitter_ms))

    legs = [(leg(there), leg(back)) for _ in range(count)]
    came = [(round(a * 1e6), round(b * 1e6)) for a, b in legs if a is not None and b is not None]
    return summarise(("a", "b"), there.one_way_ms + back.one_way_ms, came, count)


@pytest.mark.parametrize(("there", "back"), LINKS)
@pytest.mark.parametrize("count", [40, 200])
def test_links_as_specified_pass(there: Leg, back: Leg, count: int) -> None:
    law = expected(there, back, count)
    for seed in range(100):
        sample = drawn(there, back, count, seed)
        assert sample.median_ms is not None
        assert beyond_law(law, sample.median_ms, sample.p99_ms) == []
        assert sample.received >= law.fewest


@pytest.mark.parametrize(("there", "back"), LINKS)
def test_links_that_are_longer_do_not(there: Leg, back: Leg) -> None:
    law = expected(there, back, 200)
    sample = drawn(there, back, 200, 1)
    assert (sample.median_ms is not None and sample.p99_ms is not None) or there.loss
    worst = law.longest_ms + 3.0
    assert beyond_law(law, worst, None) and beyond_law(law, sample.median_ms or 0.0, worst)


def test_reordering_of_half_the_packets_is_no_error_and_its_absence_may_be() -> None:
    """The run of 5.2 ms where 11.5 were specified, and the same link of which nothing is reordered."""
    strong = Leg(5.73, reorder=0.9)
    law = expected(strong, strong, 200)
    assert law.most_median_ms < 11.0
    assert beyond_law(law, 11.46, None)[0].startswith("median RTT 11.46 ms, by the model of its links 0.00")
    half = expected(Leg(5.73, reorder=0.5), Leg(5.73, reorder=0.5), 40)
    assert beyond_law(half, 5.17, None) == []


def test_a_plain_link_has_no_law_and_one_with_a_rate_takes_its_time() -> None:
    assert Leg(10.0).plain and Leg(10.0, jitter_ms=2.0).plain and not Leg(1.0, jitter_ms=2.0).plain
    law = expected(Leg(10.0, rate_bps=1_000_000), Leg(10.0, rate_bps=1_000_000), 200)
    assert law.least_median_ms == pytest.approx(20.0 + 2 * PROBE_BYTES * 8e-3)
    assert PACKET.size == PROBE_BYTES - 42


def test_what_chance_may_take_is_said_before_it_is_measured() -> None:
    nine_of_ten = expected(Leg(1.0, loss=0.9), Leg(1.0, loss=0.9), 200)
    assert nine_of_ten.may_all_be_lost and not nine_of_ten.has_p99
    a_third = expected(Leg(1.0, loss=0.3), Leg(1.0, loss=0.3), 200)
    assert not a_third.may_all_be_lost and not a_third.has_p99
    assert expected(Leg(1.0, loss=0.01), Leg(1.0), 200).has_p99


def test_bursts_let_come_back_what_the_chain_says() -> None:
    burst = BurstLoss(p=0.02, r=0.1)
    leg = leg_of(Link("a", "b", 1.0, burst_loss=burst))
    law = expected(leg, leg, 200)
    for seed in range(50):
        fates = [Fates(f"{seed}/{way}") for way in (0, 1)]
        came = sum(
            all(one.next_delay_ns(Chances(burst_loss=burst), 1) is not None for one in fates) for _ in range(200)
        )
        assert came >= law.fewest
    assert law.returning == pytest.approx(200 * (1 - 1 / 6) ** 2)


def test_probes_leave_most_of_a_slow_link_to_others() -> None:
    assert interval_s(0.05, None) == interval_s(0.05, 10_000_000) == 0.05
    slow = interval_s(0.05, 64_000)
    assert slow > 0.05 and 2 * PROBE_BYTES * 8 / slow == pytest.approx(PROBES_SHARE * 64_000)


def test_a_fabric_is_held_against_the_law_where_there_is_one() -> None:
    half = PairSample("a", "b", 11.46, 5.2, None, 0.0, 40, 40, (5.2,) * 40)
    law = expected(Leg(5.73, reorder=0.5), Leg(5.73, reorder=0.5), 40)
    assert len(verify([half])) == 1 and verify([half], laws={("a", "b"): law}) == []


TWO = load_topology(str(Path(__file__).parents[2] / "topologies" / "two-sites.yaml"))


def between(**changes: object) -> Topology:
    return TWO.with_effects(changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate_bps": 10_000}, "a rate of 10 kbit/s, too little for the testbed's own pings and probes"),
        ({"loss": 0.9}, "loses 90% of its packets from the start"),
    ],
)
def test_links_that_no_run_could_be_valid_over_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        refuse_unmeasurable(between(**changes), {}, TWO.region_names)


def test_a_rate_that_comes_by_an_event_is_refused_too_and_a_loss_is_not() -> None:
    a, b = list(TWO.region_names)[:2]
    with pytest.raises(BadInput, match="8 kbit/s"):
        refuse_unmeasurable(TWO, {(a, b): PairSchedule(None, (PairEvent(1, rate_bps=8000),))}, [a, b])
    refuse_unmeasurable(TWO, {(a, b): PairSchedule(None, (PairEvent(1, loss=0.9),))}, [a, b])
    refuse_unmeasurable(between(rate_bps=LEAST_EMULATED_BPS), {}, TWO.region_names)
