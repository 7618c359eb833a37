"""Packets of one directed link in virtual time: the delay, rate, jitter, loss and order they are given."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from testbed.errors import BadInput
from testbed.network.spec.fabric import BurstLoss
from testbed.network.spec.topology import BurstLossShares, load_topology
from testbed.simulation.links import LinkSpec, link_specs
from testbed.simulation.tcp.path import Path

MS = 1_000_000


def arrivals(spec: LinkSpec, at_ms: list[float], size_bytes: int = 100, seed: str = "a") -> list[float | None]:
    """When each packet arrives, in milliseconds; None for a lost one."""
    path = Path(spec, seed)
    found = [path.arrives_ns(round(at * MS), size_bytes) for at in at_ms]
    return [None if one is None else one / MS for one in found]


def delays(spec: LinkSpec, count: int, apart_ms: float = 100.0, seed: str = "a") -> list[float | None]:
    sent = [number * apart_ms for number in range(count)]
    found = arrivals(spec, sent, seed=seed)
    return [None if one is None else one - at for one, at in zip(found, sent, strict=True)]


def test_a_constant_link_delays_every_packet_by_the_same_whole_microseconds() -> None:
    assert arrivals(LinkSpec(10.0004), [0, 1e-6, 5]) == [10.0, 10.000001, 15.0]


@pytest.mark.parametrize(
    "spec",
    [
        LinkSpec(10.0, loss=0.3),
        LinkSpec(10.0, series=lambda now_ns: (30 * MS - now_ns) if now_ns < 25 * MS else MS),
        LinkSpec(10.0, burst_loss=BurstLoss(0.1, 0.5)),
    ],
    ids=["loss", "falling delay", "burst loss"],
)
def test_without_jitter_and_reordering_a_link_is_first_in_first_out(spec: LinkSpec) -> None:
    got = [one for one in arrivals(spec, list(range(500))) if one is not None]
    assert got == sorted(got) and len(got) > 300


@pytest.mark.parametrize("spec", [LinkSpec(10.0, jitter_ms=9.0), LinkSpec(10.0, reorder=0.3)], ids=["jitter", "order"])
def test_with_jitter_or_reordering_packets_overtake_one_another(spec: LinkSpec) -> None:
    got = [one for one in arrivals(spec, list(range(500))) if one is not None]
    assert got != sorted(got) and len(got) == 500


def test_bandwidth_serialises_back_to_back_packets() -> None:
    spec = LinkSpec(5.0, rate_bps=8_000_000)  # a byte a microsecond
    assert arrivals(spec, [0, 0, 0, 50], 1000) == [6.0, 7.0, 8.0, 56.0]  # an idle link starts at once


@pytest.mark.parametrize(("buffer_bytes", "fit"), [(3000, 3), (None, 50)])
def test_what_exceeds_the_buffer_of_the_rate_is_lost(buffer_bytes: int | None, fit: int) -> None:
    """Without a buffer of its own a link has that of the emulation: 50 ms at the rate."""
    got = arrivals(LinkSpec(5.0, rate_bps=8_000_000, buffer_bytes=buffer_bytes), [0.0] * 60, 1000)
    assert [one is not None for one in got] == [True] * fit + [False] * (60 - fit)


def test_loss_takes_its_share() -> None:
    lost = delays(LinkSpec(10.0, loss=0.1), 4000).count(None)
    assert lost == pytest.approx(400, abs=4 * (4000 * 0.1 * 0.9) ** 0.5)


def test_jitter_is_centred_on_the_delay_and_bounded() -> None:
    got = [one for one in delays(LinkSpec(10.0, jitter_ms=2.0), 1000) if one is not None]
    assert len(got) == 1000 and all(8 <= one <= 12 for one in got)
    assert statistics.mean(got) == pytest.approx(10, abs=4 * 2 / 3**0.5 / 1000**0.5)


def test_burst_loss_is_the_chain_of_the_emulated_links_one_step_a_packet() -> None:
    """With p = 1 and r = 1 the chain alternates: every second packet is lost, and no two in a row."""
    assert delays(LinkSpec(10.0, burst_loss=BurstLoss(1.0, 1.0)), 6) == [10.0, None] * 3


def test_a_reordered_packet_is_sent_without_the_delay() -> None:
    got = delays(LinkSpec(10.0, reorder=0.3), 1000)
    assert set(got) == {0.0, 10.0}
    assert got.count(0.0) == pytest.approx(300, abs=4 * (1000 * 0.3 * 0.7) ** 0.5)


def test_a_link_that_ends_all_is_refused() -> None:
    update: dict[str, Any] = {"burst_loss": {"near": {"far": BurstLossShares(p=0.1, r=0.0)}}}
    with pytest.raises(BadInput, match=r"near -> far.*nothing would arrive"):
        link_specs(load_topology("two-sites").model_copy(update=update), {"a": "near", "b": "far"})


def test_the_topology_s_burst_loss_reordering_and_buffer_reach_the_links() -> None:
    effects: dict[str, Any] = {
        "burst_loss": BurstLossShares(p=0.1, r=0.2),
        "reorder": 0.3,
        "rate_bps": 8_000_000,
        "buffer_ms": 20.0,
    }
    topology = load_topology("two-sites").with_effects(effects)
    specs = link_specs(topology, {"a": "near", "b": "far", "c": "far"})
    assert (specs["a", "b"].burst_loss, specs["a", "b"].reorder) == (BurstLoss(0.1, 0.2), 0.3)
    assert specs["a", "b"].most_waiting_bytes == 20_000
    assert (specs["b", "c"].burst_loss, specs["b", "c"].reorder) == (None, 0.0)
    assert specs["a", "b"].varies and not specs["b", "c"].varies


def test_a_series_gives_the_delay_of_the_moment() -> None:
    spec = LinkSpec(0.0, series=lambda now_ns: 10 * MS if now_ns < 100 * MS else 30 * MS)
    assert arrivals(spec, [0, 100]) == [10.0, 130.0]


def test_equal_seeds_give_equal_links() -> None:
    spec = LinkSpec(5.0, jitter_ms=2.0)
    assert delays(spec, 20, seed="1/a/b") == delays(spec, 20, seed="1/a/b") != delays(spec, 20, seed="1/b/a")


def test_the_topology_decides_the_links_also_inside_a_site() -> None:
    placement = {"user0": "near", "target0": "near", "drafter0": "far"}
    specs = link_specs(load_topology("two-sites"), placement)
    assert specs["user0", "target0"].one_way_ms == 0.5
    assert specs["target0", "drafter0"].one_way_ms == 10.0
    assert len(specs) == 6


def test_a_link_that_loses_everything_is_refused() -> None:
    topology = load_topology("two-sites").model_copy(update={"loss": {"near": {"far": 1.0}}})
    with pytest.raises(BadInput, match="near -> far"):
        link_specs(topology, {"a": "near", "b": "far"})
