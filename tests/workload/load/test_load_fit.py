"""`loads fit` of traces as they may be: years long, a nanosecond long, cited in any words; what is written is read."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.files.yamlfile import load_yaml
from testbed.workload.load.figures import Bins, autocorrelation, count_cv, counts
from testbed.workload.load.fit import fitted, numbers_of_steps
from testbed.workload.load.profile import Profile, read_profile
from testbed.workload.load.text import profile_text
from tests.in_process import testbed

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
YEARS = "2001-11-16 18:17:03,4808,10\n2023-11-16 18:17:04.03,3180,8\n2023-11-17 18:17:04.03,3180,8\n"


def fit(tmp_path: Path, rows: str, citation: str = "own measurement") -> Profile:
    """The profile, which its file gives back."""
    trace, path = tmp_path / "trace.csv", tmp_path / "made.yaml"
    trace.write_text(HEADER + rows)
    made = fitted(trace, citation, "none")
    path.write_text(profile_text(made), encoding="utf-8")
    again = read_profile(path)
    assert again.source == made.source and again.streams[0].rate == made.streams[0].rate
    return again


def test_a_trace_of_years_is_a_profile_of_long_steps(tmp_path: Path) -> None:
    made = fit(tmp_path, YEARS)
    rate = made.streams[0].rate
    assert (len(rate.requests), sum(rate.requests), made.figures["requests"]) == (4000, 3.0, 3.0)
    assert rate.seconds == pytest.approx(1.5 * (22 * 365 + 5 + 1) * 86_400, rel=1e-4)  # two gaps, and a mean one


@pytest.mark.parametrize(
    "rows", ["0,5,5\n0.000000001,5,5\n", "0,5,5\n1999999999999,5,5\n", "0,10000000,1\n1,1,10000000\n9,2,3\n"]
)
def test_a_trace_of_any_length_fits(tmp_path: Path, rows: str) -> None:
    assert fit(tmp_path, rows).figures["requests"] == rows.count("\n")


def test_a_trace_of_centuries_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + "1000-01-01 00:00:00,5,5\n2026-01-01 00:00:00,5,5\n")
    done = testbed("loads", "fit", tmp_path / "t.csv", "--out", tmp_path / "made.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"testbed: {tmp_path}/t.csv: is 2052 years long; a profile has 4000 steps of 1e+06 s at most\n"
    )


@pytest.mark.parametrize(
    "citation", ["a: b # c", "x\x07y", "line\nbreak", "\u2028 \x85", "word " * 40 + "end", "w" * 300, "a  b" * 40, ""]
)
def test_any_citation_comes_back(tmp_path: Path, citation: str) -> None:
    assert fit(tmp_path, YEARS, citation).source.citation == citation


def test_words_that_are_not_utf_8_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + YEARS)
    (tmp_path / "p.csv").write_text("src,dst,rtt_ms\na,b,5\n")
    loads = ("loads", "fit", tmp_path / "t.csv", "--out", tmp_path / "made.yaml")
    topology = ("topology", "import", tmp_path / "p.csv", "--out", tmp_path)
    for verb in (loads, topology):
        for option in ("--citation", "--licence"):
            done = testbed(*verb, option, "caf\udce9")
            assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "is not UTF-8" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "t.csv"]


def test_a_rate_is_tried_in_no_more_steps_than_a_profile_should_have() -> None:
    assert numbers_of_steps(60.0) == [1, 2, 3, 6, 20, 60]
    assert numbers_of_steps(86_400.0) == [288, 1440, 2880]
    assert numbers_of_steps(1e9) == [4000]


def test_bins_that_are_held_are_those_that_are_counted() -> None:
    """Against every bin written out, at all edges that floating point makes."""
    chance = random.Random(3)
    for _ in range(300):
        times = sorted(chance.choice((chance.uniform(0, 60), chance.randrange(600) / 10)) for _ in range(40))
        bin_s, end_s = chance.choice((0.1, 0.7, 1.0, 3.0)), chance.choice((60.0, 59.95, 7.0))
        bins = Bins.of(times, bin_s, 0.0, end_s)
        dense = counts(times, bin_s, 0.0, end_s)
        assert dense == [bins.held[place] for place in range(bins.number)]


def test_figures_of_bins_are_those_of_the_textbook() -> None:
    assert len(Bins.of([0.0, 6.9e8, 7e8], 1.0, 0.0, 1e9).held) == 3  # its 10^9 seconds are not counted one by one
    bins = Bins.of([0.5, 1.5, 1.6, 2.5, 3.5, 3.6, 22.5], 1.0, 0.0, 24.0)
    mean = 7 / 24
    spread = sum((bins.held[place] - mean) ** 2 for place in range(24)) / 24
    assert count_cv(bins) == pytest.approx(spread**0.5 / mean, rel=1e-12)
    before, after = [[bins.held[place] for place in range(*ends)] for ends in ((0, 23), (1, 24))]
    means = sum(before) / 23, sum(after) / 23
    together = sum((a - means[0]) * (b - means[1]) for a, b in zip(before, after, strict=True))
    apart = [sum((one - m) ** 2 for one in side) for side, m in zip((before, after), means, strict=True)]
    assert autocorrelation(bins) == pytest.approx(together / (apart[0] * apart[1]) ** 0.5, rel=1e-12)
    assert autocorrelation(Bins.of([], 1.0, 0.0, 24.0)) is None and count_cv(Bins.of([], 1.0, 0.0, 24.0)) is None


def test_json_of_a_trace_whose_times_are_years_apart_is_shown(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + YEARS)
    done = testbed("loads", "show", tmp_path / "t.csv", "--json")
    figures = json.loads(done.stdout)["figures"]
    assert figures["requests"] == 3 and "-0" not in done.stdout


def test_a_profile_s_file_is_yaml_on_any_machine(tmp_path: Path) -> None:
    fit(tmp_path, YEARS, "\u00e9\U0001f600" + "z" * 100)
    data, _ = load_yaml(tmp_path / "made.yaml")
    assert data["source"]["citation"].startswith("\u00e9\U0001f600z")


def test_one_moment_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + "5,5,5\n5,5,5\n")
    with pytest.raises(BadInput, match=r"t\.csv: all its requests come at the same time"):
        fitted(tmp_path / "t.csv", "", "")
