"""RTT series: what a file must be, what a link gets from it, and every defect in one line with its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli.main import app
from testbed.errors import BadInput
from testbed.network.spec.series import SeriesReplay, available_series, load_series
from testbed.network.spec.series_summary import of_time, pair_rows, summary
from testbed.network.spec.spikes import Spikes, spike_series
from testbed.network.spec.topology import load_topology

HEADER = "# description: d\n# kind: synthetic\n# source: s\n# licence: l\n"
COLUMNS = "time_s,src,dst,rtt_ms\n"
S = 1_000_000_000
MS = 1_000_000
NEAR_FAR = [(5.0, 20.0), (6.0, 100.0), (9.0, 30.0)]  # starts at 5 s: time is counted from there


def written(tmp_path: Path, rows: str, header: str = HEADER, columns: str = COLUMNS) -> str:
    path = tmp_path / "one.csv"
    path.write_text(header + columns + rows)
    return str(path)


def series_of(tmp_path: Path, *pairs: tuple[str, str]):
    rows = "".join(f"{t},{a},{b},{rtt}\n" for a, b in pairs for t, rtt in NEAR_FAR)
    return load_series(written(tmp_path, rows))


def delay(tmp_path: Path, *, pairs=(("near", "far"),), towards="far", **options):
    a, b = ("near", "far") if towards == "far" else ("far", "near")
    return SeriesReplay(series_of(tmp_path, *pairs), **options).delay(load_topology("two-sites"), a, b)


def test_a_value_holds_until_the_next_and_each_way_takes_its_share_of_the_round_trip(tmp_path: Path) -> None:
    there = delay(tmp_path)
    assert [there(at) for at in (0, S - 1, S, 4 * S - 1)] == [10 * MS, 10 * MS, 50 * MS, 50 * MS]


def test_a_pair_measured_one_way_serves_both_and_one_measured_both_ways_each_its_own(tmp_path: Path) -> None:
    assert delay(tmp_path, towards="near")(S) == 50 * MS
    (tmp_path / "two.csv").write_text(HEADER + COLUMNS + "0,near,far,20\n1,near,far,20\n0,far,near,60\n1,far,near,60\n")
    replay = SeriesReplay(load_series(str(tmp_path / "two.csv")))
    topology = load_topology("two-sites")
    ways = replay.delay(topology, "near", "far"), replay.delay(topology, "far", "near")
    assert [way(0) for way in ways if way is not None] == [10 * MS, 30 * MS]


def test_asymmetry_of_the_topology_divides_the_round_trip(tmp_path: Path) -> None:
    topology = load_topology("two-sites").model_copy(update={"asymmetry": 0.25})
    replay = SeriesReplay(series_of(tmp_path, ("near", "far")))
    ways = replay.delay(topology, "near", "far"), replay.delay(topology, "far", "near")
    assert [way(0) for way in ways if way is not None] == [5 * MS, 15 * MS]


def test_a_loop_starts_over_where_the_series_ends_and_hold_keeps_the_last_value(tmp_path: Path) -> None:
    loop, hold = delay(tmp_path), delay(tmp_path, at_end="hold")
    assert [loop(at) for at in (4 * S, 5 * S, 8 * S)] == [10 * MS, 50 * MS, 10 * MS]
    assert [hold(at) for at in (4 * S - 1, 4 * S, 400 * S)] == [50 * MS, 15 * MS, 15 * MS]


def test_speed_is_series_seconds_a_run_second(tmp_path: Path) -> None:
    fast = delay(tmp_path, speed=2.0)
    assert [fast(at) for at in (S // 2 - 1, S // 2, 2 * S)] == [10 * MS, 50 * MS, 10 * MS]


def test_sites_of_another_name_are_mapped_and_other_pairs_left_alone(tmp_path: Path) -> None:
    replay = SeriesReplay(series_of(tmp_path, ("n1", "n2")), sites={"near": "n1", "far": "n2"})
    topology = load_topology("two-sites")
    mapped = replay.delay(topology, "near", "far")
    assert mapped is not None and mapped(0) == 10 * MS
    assert replay.delay(topology, "near", "near") is None
    assert SeriesReplay(replay.series).delay(topology, "near", "far") is None


@pytest.mark.parametrize(
    ("sites", "pairs", "words"),
    [
        ({}, [("near", "far")], "has no site 'near'; valid: n1, n2, n3"),
        ({"near": "n1", "far": "n3"}, [("near", "far")], "pair near -> far is missing"),
        ({"nera": "n1"}, [("near", "far")], "network.series_sites: .*no region 'nera'; did you mean 'near'"),
        ({"near": "n1", "far": "n2"}, [], "would have no effect"),
    ],
)
def test_a_series_without_the_pairs_in_use_is_refused(
    tmp_path: Path, sites: dict[str, str], pairs: list[tuple[str, str]], words: str
) -> None:
    rows = "".join(f"{t},{a},{b},{rtt}\n" for a, b in (("n1", "n2"), ("n2", "n3")) for t, rtt in NEAR_FAR)
    replay = SeriesReplay(load_series(written(tmp_path, rows)), sites=sites)
    with pytest.raises(BadInput, match=words):
        replay.require(load_topology("two-sites"), pairs)


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("0,a,b,1\n2,a,b,1\n1,a,b,1\n", 8, "time goes backwards for a -> b: 1 s after 2 s on line 7"),
        ("0,a,b,1\n0,a,b,1\n", 7, "time goes backwards"),
        ("0,a,b,11ms\n", 6, "rtt_ms is '11ms'; write the number alone"),
        ("0s,a,b,11\n", 6, "time_s is '0s'"),
        ("0,a,b,nan\n", 6, "rtt_ms is 'nan'"),
        ("0,a,b,-1\n", 6, "rtt_ms is '-1'"),
        ("0,a,b,70000\n", 6, "must be from 0 to 60000, in milliseconds"),
        ("0,a,b\n", 6, "3 fields, not the 4"),
        ("0,a,a,1\n", 6, "not a pair of two sites"),
        ("0,a,b,1\n1,a,b,1\n0,b,c,1\n2,b,c,1\n", 9, "b -> c ends at 2 s, the first pair at 1 s"),
        ("0,a,b,1\n1,a,b,1\n0.5,b,c,1\n1,b,c,1\n", 8, "b -> c begins at 0.5 s"),
        ("0,a,b,1\n", 6, "has one row"),
    ],
)
def test_a_defect_is_named_with_file_and_line(tmp_path: Path, rows: str, line: int, words: str) -> None:
    path = written(tmp_path, rows)
    with pytest.raises(BadInput, match=f"^{re.escape(path)}:{line}: .*{words}"):
        load_series(path)


@pytest.mark.parametrize(
    ("header", "columns", "words"),
    [
        (HEADER.replace("# licence: l\n", ""), COLUMNS, ":4: .*have no `# licence: "),
        (HEADER.replace("synthetic", "real"), COLUMNS, ":5: kind is 'real'; must be one of measured, synthetic"),
        (
            HEADER,
            "time_s,src,dst,rtt_s\n",
            ":5: the columns must be time_s,src,dst,rtt_ms, in seconds and milliseconds",
        ),
        (HEADER + "# a remark\n", COLUMNS, ":5: '# a remark' is not `# key: value`"),
        ("", "", "holds no data"),
        (HEADER, COLUMNS, "holds no rows"),
    ],
)
def test_a_file_must_say_what_it_is_and_in_which_units(tmp_path: Path, header: str, columns: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        load_series(written(tmp_path, "", header, columns))


def test_an_unknown_series_gets_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="did you mean 'same-coast-spikes'"):
        load_series("same-coast-spike")


def test_every_series_that_ships_can_be_read_and_says_whether_it_was_measured() -> None:
    kinds = {name: load_series(name).about["kind"] for name in available_series()}
    measured = dict.fromkeys(("personal-devices", "planetlab-slices"), "measured")
    assert kinds == {**measured, "same-coast-spikes": "synthetic"}


def test_the_shipped_spikes_are_what_their_readme_makes() -> None:
    """The synthetic series can be made again, byte for byte."""
    spikes = Spikes(base_ms=11.46, seconds=300, per_minute=6, mean_height_ms=60, mean_length_s=0.8, seed=1)
    assert available_series()["same-coast-spikes"].read_text() == spike_series("us-east-1", "us-east-2", spikes)


@pytest.mark.parametrize("seed", range(5))
def test_made_up_spikes_are_a_series_whatever_their_rate(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "spikes.csv"
    spikes = Spikes(base_ms=5, seconds=120, per_minute=600, mean_height_ms=10, mean_length_s=0.01, seed=seed)
    path.write_text(spike_series("a", "b", spikes))
    samples = load_series(str(path)).samples("a", "b")
    assert samples is not None and samples[0].rtt_ms == samples[-1].rtt_ms == 5 and samples[-1].time_s == 120
    assert 400 < len(samples) < 2400  # of 120 s in cycles of at least 0.1 s


def test_quantiles_of_a_series_are_over_time_not_over_rows(tmp_path: Path) -> None:
    """1 s at 20 ms, 3 s at 100 ms, then the end: most of the time is spent at 100."""
    series = series_of(tmp_path, ("near", "far"))
    samples = series.pairs["near", "far"]
    assert [of_time(samples, share) for share in (0.1, 0.25, 0.26, 0.99, 1.0)] == [20.0, 20.0, 100.0, 100.0, 100.0]
    (row,) = pair_rows(series)
    assert (row["values"], row["median_ms"], row["max_ms"]) == (3, 100.0, 100.0)
    assert summary(series)["kind"] == "synthetic" and summary(series)["median_ms"] == "100"


def test_the_command_lists_and_shows_series_for_programs() -> None:
    runner = CliRunner()
    rows = json.loads(runner.invoke(app, ["trace", "list", "--json"]).stdout)["traces"]
    assert {row["name"]: row["kind"] for row in rows}["same-coast-spikes"] == "synthetic"
    shown = json.loads(runner.invoke(app, ["trace", "show", "personal-devices", "--json"]).stdout)
    assert len(shown["pairs"]) == 12 and shown["licence"].startswith("MIT")
    assert "kind: measured" in runner.invoke(app, ["trace", "show", "personal-devices"]).stdout
