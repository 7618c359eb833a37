"""`topology import` and `trace import`: what is written can be used, and says where it comes from."""

# ruff: noqa: E501  # lines are as other programs write them

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.experiment.document import read_experiment
from testbed.experiment.resolve import resolve
from testbed.files.yamlfile import load_yaml
from testbed.network.imports import mahimahi
from testbed.network.spec.series import load_series
from testbed.network.spec.topology import load_topology
from tests.in_process import testbed

LIST = "src,dst,rtt_ms\nus-east-1,us-west-2,66.1\nus-west-2,us-east-1,66.4\nus-east-1,us-east-1,0.9\n"


def test_an_imported_topology_is_one_that_runs_can_name(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(LIST)
    done = testbed("topology", "import", tmp_path / "mine.csv", "--out", tmp_path, "--citation", "me", "--licence", "MIT",
                   "--measured-on", "2024-05-31", "--kind", "backbone")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/mine.yaml: 2 regions, 2 links\n")
    assert f"{tmp_path}/mine.csv: format csv-long, by its content" in done.stderr
    topology = load_topology(tmp_path / "mine.yaml")
    assert topology.rtt == {"us-east-1": {"us-west-2": 66.1}, "us-west-2": {"us-east-1": 66.4}}
    assert (topology.source.citation, topology.source.licence, topology.source.kind) == ("me", "MIT", "backbone")
    assert (str(topology.measured_on), topology.intra_site_rtt_ms) == ("2024-05-31", 0.9)
    assert [(one.provider, one.note) for one in topology.regions] == [("aws", "Ashburn"), ("aws", "Boardman")]


def test_many_regions_have_their_figures_in_a_csv(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(13)]
    rows = [",".join([a, *("" if a == b else f"{abs(int(a[1:]) - int(b[1:]))}.25" for b in names)]) for a in names]
    (tmp_path / "many.csv").write_text("\n".join([",".join(["x", *names]), *rows]) + "\n")
    (tmp_path / "out").mkdir()
    done = testbed("topology", "import", tmp_path / "many.csv", "--out", tmp_path / "out", "--json")
    found = json.loads(done.stdout)
    assert (found["written"], found["formats"], found["regions"], found["links"]) == (
        [f"{tmp_path}/out/many.yaml", f"{tmp_path}/out/many.csv"], ["csv-matrix"], 13, 156,
    )  # fmt: skip
    assert load_topology(tmp_path / "out/many.yaml").rtt["n3"]["n11"] == 8.25


def test_what_has_no_figure_is_said_and_stands_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "star.csv").write_text("src,dst,rtt_ms\nhub,a,10\nhub,b,20\n")
    done = testbed("topology", "import", tmp_path / "star.csv", "--out", tmp_path)
    assert "2 pairs have a figure in one direction, which counts for both" in done.stderr
    assert "1 pairs without any figure, as a and b, have no link" in done.stderr
    topology = load_topology(tmp_path / "star.yaml")
    assert (topology.missing, topology.linked("a", "hub"), topology.linked("a", "b")) == ("left_out", True, False)


def test_pings_of_several_files_make_one_topology(tmp_path: Path) -> None:
    for a, b, ms in (("x", "y", 10), ("y", "x", 11), ("x", "z", 20)):
        (tmp_path / f"{a}_to_{b}.txt").write_text(
            f"PING h (192.0.2.1): 56 data bytes\n64 bytes from h: seq=0 ttl=9 time={ms} ms\n"
        )
    files = [tmp_path / f"{one}.txt" for one in ("x_to_y", "y_to_x", "x_to_z")]
    done = testbed("topology", "import", *files, "--out", tmp_path, "--name", "mesh")
    assert done.returncode == 0, done.stderr
    assert load_topology(tmp_path / "mesh.yaml").rtt["y"] == {"x": 11.0}
    done = testbed("topology", "import", files[0], files[0], "--out", tmp_path, "--name", "twice")
    assert (done.returncode, done.stdout) == (2, "") and "x -> y is in another file too; leave one out" in done.stderr


def test_wondernetwork_s_servers_give_names_and_places(tmp_path: Path) -> None:
    (tmp_path / "servers.csv").write_text(
        "id,title,country,latitude,longitude\n1,Paris,France,48.9,2.4\n2,Rome,Italy,41.9,12.5\n"
    )
    (tmp_path / "pings.csv").write_text(
        '"source","destination","timestamp","min","avg","max","mdev"\n"1","2","2020-07-18 23:59:36","20","21","22","1"\n'
        '"2","1","2020-07-18 23:59:36","20","22","23","1"\n'
    )
    done = testbed(
        "topology", "import", tmp_path / "pings.csv", "--places", tmp_path / "servers.csv", "--out", tmp_path
    )
    assert "format pairs" in done.stderr
    topology = load_topology(tmp_path / "pings.yaml")
    assert (topology.rtt["Paris"]["Rome"], topology.regions[1].lat, str(topology.measured_on)) == (
        21.0,
        41.9,
        "2020-07-18",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--name", "a/b"), "--name is 'a/b'; letters, digits, `.`, `_` and `-` make a name"),
        (("--kind", "guess"), "--kind 'guess' is unknown; did you mean 'access'?"),
        (("--measured-on", "May"), "--measured-on is 'May'; write a day, as 2024-05-31"),
        (("--rename", "a"), "--rename is 'a'; write OLD=NEW"),
        (("--zeros", "none"), "--zeros is 'none'; write missing"),
        (("--unit", "furlong"), "unit 'furlong' is unknown; write us, ms or s"),
        (("--format", "mahimahi"), "--format 'mahimahi' is none that can be imported here"),
    ],
)
def test_options_are_checked(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "mine.csv").write_text(LIST)
    done = testbed("topology", "import", tmp_path / "mine.csv", "--out", tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "mine.yaml").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(LIST)
    assert testbed("topology", "import", tmp_path / "mine.csv", "--out", tmp_path).returncode == 0
    done = testbed("topology", "import", tmp_path / "mine.csv", "--out", tmp_path)
    assert done.returncode == 2 and "mine.yaml: is there already and is not overwritten" in done.stderr


def test_pings_with_times_become_a_trace(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(
        "PING h (192.0.2.1) 56(84) bytes of data.\n[1700000000.5] 64 bytes from h: icmp_seq=1 ttl=64 time=10 ms\n"
        "[1700000002.5] 64 bytes from h: icmp_seq=3 ttl=64 time=11 ms\n[1700000003.5] 64 bytes from h: icmp_seq=4 ttl=64 time=12 ms\n"
    )
    done = testbed("trace", "import", tmp_path / "p.txt", "--from", "me", "--out", tmp_path, "--name", "mine")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/mine.csv: 1 pairs, 3 replies\n")
    series = load_series(str(tmp_path / "mine.csv"))
    assert [tuple(one) for one in series.pairs["me", "h"]] == [(0.0, 10.0), (2.0, 11.0), (3.0, 12.0), (4.0, 12.0)]
    assert series.about["measured_on"] == "2023-11-14" and "me -> h 0.25" in series.about["lost"]


def test_pairs_of_a_trace_begin_and_end_together(tmp_path: Path) -> None:
    results = [
        {"type": "ping", "prb_id": probe, "dst_name": "t", "timestamp": at, "result": [{"rtt": float(at)}]}
        for probe, times in ((1, (100, 200, 300, 400)), (2, (150, 250, 350, 450, 550)))
        for at in times
    ]
    (tmp_path / "atlas.json").write_text(json.dumps(results))
    done = testbed("trace", "import", tmp_path / "atlas.json", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "replies lie before or after what all pairs have" in done.stderr
    series = load_series(str(tmp_path / "atlas.csv"))
    assert series.seconds == 350.0
    assert [tuple(one) for one in series.pairs["probe-1", "t"]][:2] == [(0.0, 100.0), (50.0, 200.0)]
    assert [tuple(one) for one in series.pairs["probe-2", "t"]][-2:] == [(300.0, 450.0), (350.0, 450.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "PING h (192.0.2.1)\n64 bytes from h: icmp_seq=1 ttl=64 time=10 ms\n",
            "h: 1 replies with a time; a trace needs two",
        ),
        ("src,dst,rtt_ms\na,b,3\n", "looks like csv-long, a list of pairs"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    done = testbed("trace", "import", tmp_path / "p.txt", "--from", "me", "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and says in done.stderr


MAHIMAHI = "0\n" + "1\n" * 9 + "500\n" * 10 + "1500\n" + "3000\n"


def test_a_packet_delivery_trace_becomes_rates_over_time(tmp_path: Path) -> None:
    (tmp_path / "lte.up").write_text(MAHIMAHI)
    done = testbed(
        "trace",
        "import",
        tmp_path / "lte.up",
        "--from",
        "us-east-1",
        "--to",
        "us-east-2",
        "--out",
        tmp_path,
        "--until-s",
        "4",
    )
    assert done.returncode == 0, done.stderr
    data, _ = load_yaml(tmp_path / "lte.yaml")
    assert [(one["at_s"], one.get("rate_mbit")) for one in data["events"]] == [(0, 0.24), (1, 0.012), (3, 0.24)]
    experiment = f"{read_quickstart()}\n{(tmp_path / 'lte.yaml').read_text()}"
    (tmp_path / "with.yaml").write_text(experiment)
    found = resolve(read_experiment(tmp_path / "with.yaml").scenario())
    rates = [event.rate_bps for event in found.schedules["us-east-1", "us-east-2"].events]
    assert rates == [240_000, 12_000, 240_000]


def read_quickstart() -> str:
    lines = Path("experiments/quickstart.yaml").read_text().splitlines()
    return "\n".join(lines[1:])


def test_a_second_without_a_chance_is_a_cut(tmp_path: Path) -> None:
    (tmp_path / "gap").write_text("1\n2\n2500\n")
    testbed("trace", "import", tmp_path / "gap", "--from", "a", "--to", "b", "--out", tmp_path)
    data, _ = load_yaml(tmp_path / "gap.yaml")
    assert [(one["at_s"], one.get("up"), one.get("rate_mbit")) for one in data["events"]] == [
        (0, None, 0.024), (1, False, None), (2, True, 0.024),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("1\n2\nx\n", 3, "'x' is not a whole number of milliseconds; write one a line"),
        ("1\n2.5\n", 2, "'2.5' is not a whole number of milliseconds; round it to whole milliseconds"),
        ("5\n3\n", 2, "time goes backwards: 3 ms after 5 ms; sort the file"),
        (
            "# mahimahi mm-link\n1 + 1504\n",
            1,
            "is the log of a link and not its trace; take the file that mm-link was given",
        ),
        ("\n", 1, "holds no chance to deliver a packet"),
        ("0\n0\n", 2, "ends at 0 ms, so it would start over at once; a trace must last"),
        ("1\n99999999999\n", 2, "'99999999999' ms is years away; are these milliseconds?"),
        ("1\n" + "9" * 5000 + "\n", 2, "is years away; are these milliseconds?"),
    ],
)
def test_other_traces_are_refused(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        mahimahi.chances(text, tmp_path / "t")
    assert str(caught.value).startswith(f"{tmp_path}/t:{line}: ") and says in str(caught.value)


def test_a_rate_of_too_many_steps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("1\n9999999999\n")
    (tmp_path / "short").write_text("1\n1500\n")
    ask = ("--from", "a", "--to", "b", "--out", tmp_path)
    for more, says in (
        (("long",), "a trace of 1e+07 s has 10000000 steps of 1 s; take a longer --step-s"),
        (("short", "--until-s", "1e12"), "--until-s 1e+12 is more than 100000 steps of 1 s; take a longer --step-s"),
    ):
        done = testbed("trace", "import", tmp_path / more[0], *more[1:], *ask)
        assert (done.returncode, done.stderr.splitlines()[-1:]) == (2, [f"testbed: {says}"])
    assert testbed("trace", "import", tmp_path / "long", "--step-s", "1000", *ask).returncode == 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("9,Oslo", "3: 2 fields, not the 5 that the header names"),
        ("9,91,0,Norway,Oslo", "3: '91,0' are no latitude and longitude in degrees; write up to 90 and up to 180"),
        ("9,nan,0,Norway,Oslo", "3: 'nan,0' are no latitude and longitude in degrees; write a number"),
    ],
)
def test_a_row_of_places_is_whole_and_on_earth(tmp_path: Path, row: str, says: str) -> None:
    (tmp_path / "servers.csv").write_text(f"id,lat,lon,country,title\n5,48.8,2.3,France,Paris\n{row}\n")
    (tmp_path / "p.csv").write_text("src,dst,rtt_ms\nParis,Oslo,25\n")
    done = testbed("topology", "import", tmp_path / "p.csv", "--places", tmp_path / "servers.csv", "--out", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"testbed: {tmp_path}/servers.csv:{says}")


def test_mahimahi_needs_a_direction_and_tcconfig_gives_two_sites(tmp_path: Path) -> None:
    (tmp_path / "lte.up").write_text(MAHIMAHI)
    done = testbed("trace", "import", tmp_path / "lte.up", "--out", tmp_path)
    assert done.returncode == 2 and "is of one direction; say --from A --to B" in done.stderr
    (tmp_path / "tc.json").write_text(
        '{"eth0": {"outgoing": {"protocol=ip": {"delay": "10ms", "loss": "1%", "rate": "8Mbps"}}, "incoming": {}}}'
    )
    done = testbed("trace", "import", tmp_path / "tc.json", "--from", "phone", "--to", "server", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    topology = load_topology(tmp_path / "tc.yaml")
    link, back = topology.link("phone", "server"), topology.link("server", "phone")
    assert (link.one_way_ms, link.loss, link.rate_bps) == (10.0, 0.01, 8_000_000)
    assert (back.one_way_ms, back.loss, back.rate_bps) == (0.0, 0.0, None)
