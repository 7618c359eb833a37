"""Profiles that ship give back the figures of their source, and a profile can be made of any trace."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from testbed.errors import BadInput
from testbed.files.named import LOAD, known
from testbed.workload.load.asked import Asked
from testbed.workload.load.figures import Bins, autocorrelation, figures, gap_cv, quantile
from testbed.workload.load.fit import distance, profile_of, rank_correlation
from testbed.workload.load.generate import arrivals, gap, generate
from testbed.workload.load.profile import LoadSource, Profile, Rate, Stream, read_profile
from testbed.workload.load.source import load_load
from testbed.workload.load.text import profile_text

NAMES = sorted(known(LOAD))
MOST = 100_000  # requests drawn of a profile that has more
SEEDS = (11, 12, 13)  # none that a profile was fitted with
SOURCE = LoadSource(citation="a test", licence="none", date="today")


def drawn(profile: Profile) -> dict[str, float]:
    """The mean of each figure over some draws."""
    scale = min(1.0, MOST / sum(sum(one.rate.requests) for one in profile.streams))
    each = [
        figures(list(generate(profile, seed, 0.0, profile.seconds, scale)), 0.0, profile.seconds, profile.figures)
        for seed in SEEDS
    ]
    return {key: sum(one[key] for one in each) / len(each) / (scale if key == "requests" else 1) for key in each[0]}


def test_five_services_ship() -> None:
    for service in ("azure-2023", "azure-2024", "burstgpt", "mooncake", "servegen"):
        assert any(name.startswith(service) for name in NAMES)
    assert all(known(LOAD)[name].stat().st_size < 40_000 for name in NAMES), "a profile is small"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_has_the_figures_of_the_source(name: str) -> None:
    profile = load_load(name).of
    assert isinstance(profile, Profile)
    assert {"input_p50", "input_p99", "output_p50", "output_p99"} <= profile.figures.keys()
    assert any(key.startswith("autocorrelation") or key == "gap_cv" for key in profile.figures)
    found = drawn(profile)
    assert found.keys() == profile.figures.keys()
    for key, value in profile.figures.items():
        lengths = key.startswith(("input", "output"))
        # lengths are whole tokens
        assert found[key] == pytest.approx(value, rel=0.05 if lengths else 0.1, abs=0.5 if lengths else 0.0), key


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_says_where_it_is_from(name: str) -> None:
    profile = load_load(name).of
    assert isinstance(profile, Profile)
    source = profile.source
    assert source.citation and source.licence and source.date and source.url and source.commit and source.changes


def test_gaps_have_the_coefficient_of_variation_that_is_asked_for() -> None:
    for cv in (0.0, 0.3, 1.0, 2.5):
        random = Random("gaps")
        gaps = [gap(random, cv) for _ in range(40_000)]
        mean = sum(gaps) / len(gaps)
        spread = (sum((one - mean) ** 2 for one in gaps) / len(gaps)) ** 0.5
        assert mean == pytest.approx(1, rel=0.05) and spread == pytest.approx(cv, rel=0.06, abs=1e-9)


def test_a_stream_keeps_its_unevenness_while_its_rate_stays() -> None:
    for name in ("servegen-m-large", "servegen-deepseek-r1"):
        profile = load_load(name).of
        assert isinstance(profile, Profile)
        for stream in profile.streams:
            one = Stream(rate=Rate(step_s=1000.0, requests=(30_000.0,)), gap_cv=stream.gap_cv)
            times = list(arrivals(one, Random("stream"), 0.0, 1000.0, 1.0))
            assert gap_cv(times) == pytest.approx(stream.gap_cv, rel=0.1)


def test_one_seed_and_window_give_one_load() -> None:
    profile = load_load("azure-2023-code").of
    assert isinstance(profile, Profile)
    one = list(generate(profile, 3, 100.0, 400.0))
    assert one == list(generate(profile, 3, 100.0, 400.0)) != list(generate(profile, 4, 100.0, 400.0))
    assert all(0 <= request.at_s < 300 for request in one)
    assert [request.at_s for request in one] == sorted(request.at_s for request in one)


def test_a_profile_goes_on_from_its_beginning_and_scales() -> None:
    step = Profile(
        description="", kind="composed", source=SOURCE, lengths=load_load("azure-2023-conv").of.lengths,  # type: ignore[union-attr]
        streams=(Stream(rate=Rate(step_s=10, requests=(0.0, 100.0)), gap_cv=0.1),),
    )  # fmt: skip
    times = [one.at_s for one in generate(step, 1, 15.0, 60.0, 0.5)]
    assert all((at + 15.0) % 20.0 >= 10.0 for at in times)
    assert len(times) == pytest.approx(0.5 * (50 + 100 + 100), rel=0.05)


@pytest.mark.slow
def test_a_profile_of_a_trace_draws_what_is_like_it(tmp_path: Path) -> None:
    random = Random("trace")
    at_s, trace = 0.0, []
    for number in range(4000):
        at_s += gap(random, 1.0) / (2.0 if number // 400 % 2 else 10.0)
        trace.append(Asked(at_s, 1 + int(1000 * random.random() ** 3), 1 + int(50 * random.random())))
    made = profile_of(trace, "two rates in turn", SOURCE, None)
    assert made.figures["requests"] == 4000 and distance(made) < 0.15
    path = tmp_path / "made.yaml"
    path.write_text(profile_text(made))
    again = read_profile(path)
    assert again.lengths == made.lengths and again.figures == made.figures
    assert again.streams[0].rate.requests == made.streams[0].rate.requests


def test_ranks_are_correlated_as_the_profile_says() -> None:
    profile = load_load("mooncake-synthetic").of
    assert isinstance(profile, Profile) and profile.lengths.rank_correlation < -0.4
    found = rank_correlation(list(generate(profile, 5, 0.0, profile.seconds)))
    assert found == pytest.approx(profile.lengths.rank_correlation, abs=0.05)


def test_figures_of_little_are_left_out() -> None:
    assert figures([], 0.0, 100.0) == {"requests": 0, "seconds": 100.0}
    assert gap_cv([1.0, 1.0, 1.0]) is None and autocorrelation(Bins.of([1.0, 2.0], 1.0, 0.0, 9.0)) is None
    assert quantile([1, 2, 4], 0.75) == 3.0


BAD = {
    "quantiles must go from share 0": ("[[0, 1], [0.5, 2], [1, 9]]", "[[0.1, 1], [1, 9]]"),
    "quantiles must ascend": ("[[0, 1], [0.5, 2], [1, 9]]", "[[0, 3], [0.5, 2], [1, 9]]"),
    "requests are all 0": ("requests: [1, 2]", "requests: [0, 0]"),
    "gap_cv_by_step has 1 values for 2 steps": ("gap_cv: 1", "gap_cv_by_step: [1]"),
    "no figure 'input_median'": ("input_p50: 2", "input_median: 2"),
    "figure 'autocorelation_10s'; did you mean 'autocorrelation_10s'": ("input_p50: 2", "autocorelation_10s: 2"),
}
GOOD = """\
description: a test
kind: measured
source: {citation: x, licence: y, date: z}
streams:
- rate: {step_s: 10, requests: [1, 2]}
  gap_cv: 1
lengths:
  input: {quantiles: [[0, 1], [0.5, 2], [1, 9]]}
  output: {quantiles: [[0, 1], [1, 9]]}
figures: {input_p50: 2}
"""


@pytest.mark.parametrize("complaint", BAD)
def test_a_wrong_profile_is_refused_by_line(tmp_path: Path, complaint: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace(*BAD[complaint]))
    with pytest.raises(BadInput, match=rf"bad\.yaml:\d+: .*{complaint.replace('(', '.')}"):
        read_profile(path)
    path.write_text(GOOD)
    assert read_profile(path).seconds == 20
