"""Chance on a relayed link: every law exactly as specified, the same fate for the same packets (invariant 6)."""

import itertools
import statistics
from dataclasses import replace

import pytest

from testbed.network.relay.impair import Chances, Fates
from testbed.network.spec.fabric import BurstLoss

DELAY_NS = 20_000_000
COUNT = 100_000
SEED = "run/0>1"  # fixed: the laws below hold for it within four standard errors, and would for nearly every other


def fates(chances: Chances, count: int = COUNT, seed: str = SEED, delay_ns: int = DELAY_NS) -> list[int | None]:
    made = Fates(seed)
    return [made.next_delay_ns(chances, delay_ns) for _ in range(count)]


def lost(chances: Chances, count: int = COUNT, seed: str = SEED) -> list[bool]:
    return [delay is None for delay in fates(chances, count, seed)]


def share_error(share: float, count: int = COUNT) -> float:
    """Four standard errors of a share among independent packets."""
    return float(4 * (share * (1 - share) / count) ** 0.5)


def bursts(losses: list[bool]) -> list[int]:
    return [len(list(run)) for is_lost, run in itertools.groupby(losses) if is_lost]


def test_a_link_without_effects_delays_and_nothing_else() -> None:
    assert set(fates(Chances(), 1000)) == {DELAY_NS}


def test_independent_loss_has_its_share_and_no_memory() -> None:
    losses = lost(Chances(loss=0.1))
    assert statistics.mean(losses) == pytest.approx(0.1, abs=share_error(0.1))
    assert statistics.mean(bursts(losses)) == pytest.approx(1 / 0.9, rel=0.02)  # geometric: 1 / (1 - loss)


@pytest.mark.parametrize(("p", "r"), [(0.01, 0.25), (0.05, 0.5), (0.002, 0.1), (0.3, 0.9)])
def test_burst_loss_has_its_stationary_share_and_mean_burst(p: float, r: float) -> None:
    """Share p / (p + r) lost, in bursts of 1 / r packets, 1 / p packets apart: all three decide p and r."""
    losses = lost(Chances(burst_loss=BurstLoss(p, r)), 400_000)
    found = bursts(losses)
    memory = ((2 - p - r) / (p + r)) ** 0.5  # a chain's share varies so much more than that of independent packets
    share = p / (p + r)
    assert statistics.mean(losses) == pytest.approx(share, abs=share_error(share, 400_000) * max(memory, 1))
    burst_error = 4 * ((1 - r) / r**2 / len(found)) ** 0.5
    assert statistics.mean(found) == pytest.approx(1 / r, abs=burst_error + 1e-9)
    gaps = bursts([not one for one in losses])
    assert statistics.mean(gaps) == pytest.approx(1 / p, rel=4 / len(gaps) ** 0.5)


def test_burst_lengths_are_geometric() -> None:
    found = bursts(lost(Chances(burst_loss=BurstLoss(0.05, 0.25)), 400_000))
    for length in (1, 2, 3, 5):
        share = 0.25 * 0.75 ** (length - 1)
        assert found.count(length) / len(found) == pytest.approx(share, abs=share_error(share, len(found)))


def test_each_state_of_the_chain_has_its_own_loss() -> None:
    good_only = lost(Chances(burst_loss=BurstLoss(0.0, 0.5, loss_bad=1.0, loss_good=0.03)))
    assert statistics.mean(good_only) == pytest.approx(0.03, abs=share_error(0.03))
    bad_only = lost(Chances(burst_loss=BurstLoss(1.0, 0.0, loss_bad=0.6)))[1:]  # the first packet finds it good
    assert statistics.mean(bad_only) == pytest.approx(0.6, abs=share_error(0.6))


@pytest.mark.parametrize("burst", [BurstLoss(0.2, 0.0), BurstLoss(0.0, 1.0)])
def test_a_chain_that_cannot_leave_a_state_stays(burst: BurstLoss) -> None:
    losses = lost(Chances(burst_loss=burst), 1000)
    first = losses.index(True) if True in losses else len(losses)
    assert all(losses[first:])
    assert (first == len(losses)) == (burst.p == 0)


def test_jitter_is_uniform_around_the_delay() -> None:
    half_ns = 5_000_000
    delays = sorted(delay for delay in fates(Chances(jitter_ns=half_ns)) if delay is not None)
    assert len(delays) == COUNT
    assert DELAY_NS - half_ns <= delays[0] and delays[-1] <= DELAY_NS + half_ns
    for share in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        quantile = DELAY_NS - half_ns + 2 * half_ns * share
        assert delays[int(share * COUNT)] == pytest.approx(quantile, abs=2 * half_ns * share_error(share) + 1)


def test_jitter_wider_than_the_delay_is_cut_off_at_zero() -> None:
    delays = [delay for delay in fates(Chances(jitter_ns=2 * DELAY_NS)) if delay is not None]
    assert min(delays) == 0
    assert delays.count(0) / COUNT == pytest.approx(0.25, abs=share_error(0.25))


def test_reordering_sends_its_share_at_once() -> None:
    delays = fates(Chances(reorder=0.2))
    assert set(delays) == {0, DELAY_NS}
    assert delays.count(0) / COUNT == pytest.approx(0.2, abs=share_error(0.2))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_of_none_and_of_all_are_exact(share: float) -> None:
    assert lost(Chances(loss=share), 1000) == [bool(share)] * 1000
    assert set(fates(Chances(reorder=share), 1000)) == {0 if share else DELAY_NS}


ALL = Chances(burst_loss=BurstLoss(0.05, 0.3), reorder=0.1, jitter_ns=3_000_000)


def test_one_seed_is_one_fate() -> None:
    assert fates(ALL, 1000) == fates(ALL, 1000)
    assert len({tuple(fates(ALL, 1000, seed)) for seed in ("a/0>1", "b/0>1", "a/1>0")}) == 3


def test_switching_one_effect_on_moves_no_draw_of_another() -> None:
    everything = fates(ALL, 2000)
    assert [one is None for one in everything] == lost(Chances(burst_loss=ALL.burst_loss), 2000)
    at_once = fates(Chances(reorder=0.1), 2000)
    spread = fates(Chances(jitter_ns=3_000_000), 2000)
    for one, alone, jittered in zip(everything, at_once, spread, strict=True):
        assert one is None or one == (0 if alone == 0 else jittered)


def test_a_burst_survives_a_change_of_the_link() -> None:
    """A replayed series changes links many times a second: it must not end every burst."""
    burst = BurstLoss(1.0, 0.0)
    made = Fates(SEED)
    made.next_delay_ns(Chances(burst_loss=burst), 1)
    assert made.next_delay_ns(Chances(burst_loss=replace(burst, loss_good=0.0)), 2) is None


def test_only_jitter_and_reordering_let_packets_overtake() -> None:
    assert Chances(loss=0.1).keep_order and Chances(burst_loss=BurstLoss(0.1, 0.1)).keep_order
    assert not Chances(reorder=0.1).keep_order and not Chances(jitter_ns=1).keep_order
