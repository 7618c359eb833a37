"""Four terms for a pass's time: found again where they are true, never negative, and following a device that drifts."""

from __future__ import annotations

from random import Random

import pytest

from testbed.errors import BadInput
from testbed.models.devices import load_profile
from testbed.models.profiled import CONFIGURATIONS, TRAIN, configurations, profiled_passes, row, rows_of
from testbed.models.timing import Feed
from testbed.policies.wisp.estimator import Load, PassTime, Refit, TimedPass, accuracy, fit, load_of, timed

TRUE = PassTime(new_ms=0.3, attended_ms=2e-5, cached_ms=1e-4, pass_ms=40.0)


def passes(count: int, seed: int, device: PassTime = TRUE, noise_ms: float = 0.0) -> list[TimedPass]:
    random = Random(seed)
    found = []
    for feeds in configurations(count, seed, 2048):
        load = Load()
        for one in feeds:
            load = load.plus(load_of(one.new, one.cached))
        found.append(TimedPass(load, device.predict_ms(load) + random.uniform(-noise_ms, noise_ms)))
    return found


def test_a_device_of_four_terms_is_found_again() -> None:
    found = fit(passes(60, 1))
    assert found == pytest.approx(TRUE, rel=1e-6, abs=1e-9)
    reached = accuracy(found, passes(20, 2))
    assert reached.r2 == pytest.approx(1.0) and reached.mape < 1e-9


def test_the_margin_is_what_nineteen_of_twenty_passes_stay_within() -> None:
    seen = passes(2000, 3, noise_ms=5.0)
    found = fit(seen)
    late = sum(one.ms > found.predict_ms(one.load) + found.margin_ms for one in seen)
    assert late == pytest.approx(0.05 * len(seen), abs=2)
    assert found.margin_ms == pytest.approx(4.5, abs=0.5)  # uniform in plus or minus 5


def test_no_coefficient_is_negative() -> None:
    """A device that gets faster with what is cached: nothing may make a pass seem shorter, so that term is 0."""
    found = fit(passes(60, 4, TRUE._replace(cached_ms=-2e-4)))
    assert min(found) >= 0.0 and found.cached_ms == 0.0


def test_too_few_passes_and_rows_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadInput, match="3 profiled passes cannot fix 4 coefficients"):
        fit(passes(3, 1))
    for bad in ((0, 1, 0, 1.0), (5, 4, 0, 1.0), (5, 25, -1, 1.0), (5, 25, 0, 0.0)):
        with pytest.raises(BadInput, match="profiled pass 2"):
            timed([(5, 25, 0, 3.0), bad])


def test_a_batch_s_row_adds_up_its_requests() -> None:
    assert row([Feed(3, 10), Feed(2, 0)], 7.0) == (5, 3 * 13 + 2 * 2, 10, 7.0)
    profile = load_profile("a100-80gb/qwen3-32b")
    assert rows_of(profile, [(Feed(8, 100),)])[0][3] == pytest.approx(profile.duration_ms(8, 100))


def test_configurations_are_within_the_device_and_of_all_sizes() -> None:
    found = configurations(CONFIGURATIONS, 0, 512, 40_000)
    assert found == configurations(CONFIGURATIONS, 0, 512, 40_000) != configurations(CONFIGURATIONS, 1, 512, 40_000)
    for feeds in found:
        assert 1 <= sum(one.new for one in feeds) <= 512
        assert sum(one.new + one.cached for one in feeds) <= 40_000
    sizes = sorted(sum(one.new for one in feeds) for feeds in found)
    assert sizes[10] < 20 and sizes[-10] > 300


@pytest.mark.parametrize("name", ["a100-80gb/qwen3-32b", "a100-80gb/qwen3-14b"])
def test_four_terms_follow_a_staircase_about_as_well_as_the_paper_says(name: str) -> None:
    """WISP reports R2 0.992 and MAPE 4.9 % on a real A100; claim P3 asks for 0.98 and 6 %. A little looser here."""
    profile = load_profile(name)
    for seed in range(3):
        rows = timed(profiled_passes(profile, CONFIGURATIONS, seed))
        reached = accuracy(fit(rows[:TRAIN]), rows[TRAIN:])
        assert reached.r2 > 0.96 and reached.mape < 0.07


def test_an_estimate_that_learns_follows_a_device_that_slows_down() -> None:
    slower = PassTime(*(1.4 * term for term in TRUE[:4]))
    learning = Refit(fit(passes(60, 1)))
    before = accuracy(fit(passes(60, 1)), passes(40, 9, slower))
    for one in passes(300, 5, slower, noise_ms=1.0):
        learning.observe(one.load, one.ms)
    assert learning.model is not None
    after = accuracy(learning.model, passes(40, 9, slower))
    assert after.mape < 0.02 < 0.2 < before.mape
    assert 0.0 < learning.model.margin_ms < 3.0


def test_batches_that_are_all_alike_do_not_spoil_what_is_known_of_others() -> None:
    learning = Refit(TRUE)
    alike = passes(1, 6)[0]
    for _ in range(2000):
        learning.observe(alike.load, alike.ms * 1.1)
    assert learning.model is not None
    assert learning.model.predict_ms(alike.load) == pytest.approx(alike.ms * 1.1, rel=0.02)
    assert accuracy(learning.model, passes(40, 7)).mape < 0.25


def test_without_a_profile_nothing_is_predicted_before_enough_was_seen() -> None:
    learning = Refit(None)
    seen = passes(Refit.FIRST, 8)
    for one in seen[:-1]:
        learning.observe(one.load, one.ms)
        assert learning.model is None
    learning.observe(seen[-1].load, seen[-1].ms)
    assert learning.model == pytest.approx(TRUE, rel=1e-5, abs=1e-8)
