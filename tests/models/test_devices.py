"""Device profiles: sourced, interpolated inside their range, refused outside it."""

import pytest

from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile, load_profile, names


def test_every_shipped_profile_loads_and_names_its_source():
    assert {"native", "l40s/llama-3.1-8b", "l40s/llama-3.2-1b", "raspberry-pi-5/llama-3.2-3b-q4"} <= set(names())
    for name in names():
        assert load_profile(name).source


def test_the_l40s_pair_has_the_step_times_of_the_wanspec_prototype():
    assert load_profile("l40s/llama-3.1-8b").duration_ms(3) == 23.4
    assert load_profile("l40s/llama-3.2-1b").duration_ms(1) == 7.5


def test_between_knots_the_time_is_linear_and_outside_it_is_refused():
    profile = DeviceProfile(
        name="p",
        device="d",
        model="m",
        kind="synthetic",
        source="test",
        pass_ms=((1, 10.0), (5, 30.0)),
        max_pass_tokens=5,
    )
    assert [profile.duration_ms(n) for n in (1, 3, 5)] == [10.0, 20.0, 30.0]
    with pytest.raises(ValueError, match="outside"):
        profile.duration_ms(6)


def test_a_long_feed_is_cut_into_full_passes_first():
    profile = load_profile("raspberry-pi-5/llama-3.2-3b-q4")
    assert profile.passes(1100) == [512, 512, 76]
    assert sum(profile.passes(1100)) == 1100


def test_an_unknown_profile_is_refused_with_the_nearest_name():
    with pytest.raises(BadInput, match=r"did you mean 'l40s/llama-3.1-8b'"):
        load_profile("l40s/llama-3.1-7b")
