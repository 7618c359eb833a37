"""Device profiles: sourced, interpolated inside their range, refused outside it."""

import pytest

from testbed.errors import BadInput
from testbed.models.devices import DeviceProfile, load_profile, names
from testbed.models.timing import Feed, padded


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


A100 = "a100-80gb/qwen3-32b"


def test_a_batched_pass_is_dense_work_on_all_new_tokens_plus_each_requests_attention():
    """T = dense(Σ new) + b Σ new (new + cached) + c Σ cached + requests + step, by hand."""
    profile = DeviceProfile(
        name="p", device="d", model="m", kind="synthetic", source="test", pass_ms=((1, 10.0), (5, 30.0)),
        max_pass_tokens=5, attention_ms=0.01, kv_read_ms=0.001, sequence_ms=0.5, step_ms=2.0,
    )  # fmt: skip
    feeds = [Feed(1, 100), Feed(3, 50)]
    assert profile.batch_ms(feeds) == pytest.approx(25.0 + 0.01 * (1 * 101 + 3 * 53) + 0.001 * 150 + 2 * 0.5 + 2.0)
    assert profile.duration_ms(3, 50) == profile.batch_ms([Feed(3, 50)])
    with pytest.raises(ValueError, match="6 tokens are outside"):
        profile.batch_ms([Feed(3), Feed(3)])


@pytest.mark.parametrize("name", ["l40s/llama-3.1-8b", "l40s/llama-3.2-1b", "raspberry-pi-5/llama-3.2-3b-q4"])
def test_profiles_without_attention_terms_take_the_time_of_their_knots_whatever_is_cached(name):
    profile = load_profile(name)
    assert profile.by_tokens_alone
    for tokens, ms in profile.pass_ms:
        assert profile.duration_ms(tokens, 1000) == profile.duration_ms(tokens) == ms


def test_padding_makes_every_feed_as_long_as_the_longest():
    assert padded([Feed(1, 9), Feed(4, 3)]) == [Feed(4, 9), Feed(4, 3)]


def test_the_a100_profile_has_the_shape_of_its_sources():
    """Scaled edges, a one-token step near the measured one of a similar GPU, memory beside the weights."""
    profile = load_profile(A100)
    assert profile.kind == "synthetic" and "Nothing here was measured" in profile.note
    assert profile.duration_ms(1, 512) == pytest.approx(44.6, rel=0.1)  # measured: RTX PRO 6000, Qwen3-32B
    edges = [profile.duration_ms(after) / profile.duration_ms(at) for at, after in ((128, 136), (256, 264))]
    assert edges == pytest.approx([18.2 / 13.3, 26.7 / 19.6], rel=0.02)
    assert profile.kv_capacity_tokens * profile.kv_bytes_per_token == pytest.approx(80e9 - 65.5e9, rel=0.01)


def test_sixteen_sequences_make_the_token_rate_that_wisp_reports_of_its_centralised_baseline():
    """The inference behind `centralised: {mode: as_reported}`: 326 tokens/s is a static batch of about 16."""
    profile = load_profile(A100)
    rate = 16e3 / profile.batch_ms([Feed(1, 500)] * 16)
    assert rate == pytest.approx(326, rel=0.05)


@pytest.mark.parametrize(
    "name", [one for one in names() if one.split("/")[0] in ("raspberry-pi-4b", "jetson-orin-nano")]
)
def test_edge_profiles_say_what_is_not_measured(name):
    profile = load_profile(name)
    assert "synthetic" in profile.note or profile.kind == "synthetic"
    assert "Valid for 1 to 512 tokens" in profile.note
