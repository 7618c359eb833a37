"""Figures in CSV files, access lines, kinds of figures; and that the shipped figures are those of their sources."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.network.spec.matrixfile import matrix_text, read_matrix
from testbed.network.spec.topology import Topology, available, load_topology

# Regions, directed links, and a hash of every figure between regions, as compared with the source cell by cell.
SHIPPED = {
    "aws": (21, 420, "d031b29e697233a2"),
    "aws-azure-gcp": (69, 4644, "ad382af6d2cea946"),
    "aws-europe": (5, 20, "8e232b61a40db385"),
    "aws-north-america": (6, 30, "6d44611f4767b22b"),
    "azure-2025-06": (51, 2452, "ea0e87b07f4a3cfc"),
    "azure-2026-07": (49, 2270, "ad1d349e7c0d4573"),
    "campus-to-cloud": (12, 132, "fce9b949be5a8566"),
    "edge-fleet-200": (205, 41820, "69ae6fd620da5073"),
    "europe": (20, 380, "5e09cced1066c5ec"),
    "planetlab-slices": (12, 132, "25fcee95ed796064"),
    "two-sites": (2, 2, "772365795666ebf6"),
    "wanspec": (6, 30, "1470537a4cef259c"),
    "world-50": (50, 2450, "73705f9845161ea0"),
}


@pytest.mark.parametrize("name", sorted(available()))
def test_shipped_figures_are_those_that_were_compared_with_their_source(name: str) -> None:
    topology = load_topology(name)
    cores = sorted(one.name for one in topology.regions if one.behind is None)
    figures = [f"{a} {b} {topology.rtt[a][b]:.12g}" for a in cores for b in cores if a != b and topology.linked(a, b)]
    digest = hashlib.sha256("\n".join(figures).encode()).hexdigest()[:16]
    assert (len(topology.regions), sum(1 for _ in topology.pairs()), digest) == SHIPPED[name]


@pytest.mark.parametrize(
    ("name", "a", "b", "rtt_ms", "kind"),
    [
        ("aws", "af-south-1", "ap-east-1", 248.78, "public_ping"),
        ("aws", "us-east-1", "us-east-2", 11.492, "public_ping"),
        ("azure-2025-06", "australiacentral", "australiacentral2", 3, "backbone"),
        ("azure-2025-06", "australiacentral", "australiasoutheast", 16, "backbone"),
    ],
)
def test_some_figures_as_published(name: str, a: str, b: str, rtt_ms: float, kind: str) -> None:
    topology = load_topology(name)
    assert (topology.rtt[a][b], topology.source.kind) == (rtt_ms, kind)


def test_topologies_of_one_source_have_one_figure_for_a_pair() -> None:
    world = load_topology("aws-azure-gcp").rtt
    for name in ("aws", "aws-europe", "aws-north-america", "europe", "wanspec", "world-50", "edge-fleet-200"):
        topology = load_topology(name)
        cores = {one.name for one in topology.regions if one.behind is None}
        assert all(topology.rtt[a][b] == world[a][b] for a, b in topology.pairs() if {a, b} <= cores), name


CSV = """\
# citation: made up
# licence: Apache-2.0
# kind: {kind}
# measured_on: {day}
from \\ to,east,west,north
east,,40,5.5
west,60,,
north,5,7,
"""
OWN = """\
name: own
description: two regions
rtt_csv: [one.csv]
regions:
  - {name: east, provider: none}
  - {name: west, provider: none}
intra_site_rtt_ms: 1.0
"""


def load(folder: Path, text: str = OWN, csv: str = CSV, kind: str = "backbone") -> Topology:
    (folder / "one.csv").write_text(csv.replace("{kind}", kind).replace("{day}", "2026-05-01"))
    (folder / "own.yaml").write_text(text)
    return load_topology(folder / "own.yaml")


def test_a_csv_gives_figures_source_and_day_of_the_regions_that_are_listed(tmp_path: Path) -> None:
    topology = load(tmp_path)
    assert topology.rtt == {"east": {"west": 40.0}, "west": {"east": 60.0}}
    assert (topology.source.citation, topology.source.kind, str(topology.measured_on)) == (
        "made up", "backbone", "2026-05-01",
    )  # fmt: skip
    assert Topology.model_validate_json(topology.model_dump_json(by_alias=True)) == topology


def test_a_csv_is_written_as_it_is_read(tmp_path: Path) -> None:
    load(tmp_path)
    file = read_matrix(tmp_path / "one.csv")
    (tmp_path / "two.csv").write_text(matrix_text(file))
    assert read_matrix(tmp_path / "two.csv") == file


@pytest.mark.parametrize(
    ("change", "to", "line", "says"),
    [
        ("kind: {kind}", "kind: guess", 3, "kind: should be "),
        ("# kind: {kind}\n", "", 1, "no `# kind: ...`"),
        ("{day}", "May", 4, "`# measured_on:` is 'May'; write the day of the measurement"),
        ("# licence: Apache-2.0\n", "", 1, "key 'licence' is missing"),
        ("# licence: Apache-2.0", "# licence", 2, "is not `# key: value`"),
        ("from \\ to", "from", 5, "must begin with"),
        ("east,west,north", "east,east,north", 5, "columns are regions, each once"),
        ("east,,40,5.5", "east,,40", 6, "2 figures for 3 regions"),
        ("east,,40,5.5", "east,,40 ms,5.5", 6, "east -> west is '40 ms'; write the number alone"),
        ("east,,40,5.5", "east,,\"40,5\",5.5", 6, "write 40.5, with a decimal point"),
        ("east,,40,5.5", "east,1,40,5.5", 6, "leave the diagonal empty"),
        ("east,,40,5.5", "east,,-40,5.5", 6, "write 0 to 60000"),
        ("west,60,,", "east,,60,", 7, "has two rows"),
        ("west,60,,", "wst,60,,", 7, "row 'wst' is no column; did you mean 'west'?"),
        ("west,60,,\n", "", None, "region 'west' has a column but no row"),
        ("west,60,,", 'west,"60,,', 7, "is not CSV"),
    ],
)  # fmt: skip
def test_a_defect_of_a_csv_is_refused_with_its_line(
    tmp_path: Path, change: str, to: str, line: int | None, says: str
) -> None:
    assert change in CSV
    with pytest.raises(BadInput) as caught:
        load(tmp_path, csv=CSV.replace(change, to))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/one.csv:" + (f"{line}: " if line else ""))


@pytest.mark.parametrize(
    ("change", "to", "line", "says"),
    [
        ("[one.csv]", "one.csv", 3, "rtt_csv is 'one.csv'; write a list of files"),
        ("[one.csv]", "[two.csv]", None, "two.csv: does not exist; rtt_csv is a file beside the topology"),
        ("name: west", "name: wst", 6, "region 'wst' has no row in rtt_csv; did you mean 'west'?"),
        ("rtt_csv:", "measured_on: 2020-01-01\nrtt_csv:", 3, "measured_on: the files of rtt_csv say that"),
    ],
)
def test_a_defect_of_a_topology_with_a_csv_is_refused(
    tmp_path: Path, change: str, to: str, line: int | None, says: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, OWN.replace(change, to))
    assert says in str(caught.value)
    if line is not None:
        assert str(caught.value).startswith(f"{tmp_path}/own.yaml:{line}: ")


NORTH = OWN.replace("regions:\n", "regions:\n  - {name: north, provider: none}\n")


def test_a_pair_that_the_csv_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="pair west -> north is missing; give both directions, or set symmetric: true"):
        load(tmp_path, NORTH)


def test_a_pair_measured_in_one_direction_serves_both_where_the_file_says_so(tmp_path: Path) -> None:
    topology = load(tmp_path, NORTH + "missing: other_direction\n")
    assert topology.rtt["west"]["north"] == topology.rtt["north"]["west"] == 7.0


def test_a_pair_without_figures_has_no_link_where_the_file_says_so(tmp_path: Path) -> None:
    csv = CSV.replace("north,5,7,", "north,5,,")
    with pytest.raises(BadInput, match="pair north -> west is missing; give it, or say missing: left_out"):
        load(tmp_path, NORTH + "missing: other_direction\n", csv)
    topology = load(tmp_path, NORTH + "missing: left_out\n", csv)
    assert not topology.linked("north", "west") and topology.linked("north", "east")
    assert len(list(topology.pairs())) == 4
    with pytest.raises(BadInput, match="topology own: no figure for north -> west, so there is no link"):
        topology.one_way_ms("north", "west")
    assert topology.with_rtt_ms(9.0).rtt_ms("north", "west") == 9.0


def test_kinds_are_not_mixed_in_silence(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text(CSV.replace("{kind}", "public_ping").replace("{day}", "2026-06-01"))
    two = OWN.replace("[one.csv]", "[one.csv, two.csv]")
    with pytest.raises(BadInput, match=r"figures of different kinds: backbone \(source\), public_ping .*mixed_kinds"):
        load(tmp_path, two)
    topology = load(tmp_path, two + "mixed_kinds: for a test\n")
    assert [one.kind for one in (topology.source, *topology.more_sources)] == ["backbone", "public_ping"]
    assert str(topology.measured_on) == "2026-06-01"
    with pytest.raises(BadInput, match="mixed_kinds: all figures are of one kind"):
        load(tmp_path, OWN + "mixed_kinds: for a test\n")


LINES = OWN.replace("intra", """\
  - {name: phone, provider: none, behind: east, access: lte, count: 2}
  - {name: desk, provider: none, behind: west, access: wired}
intra""") + """\
mixed_kinds: lines are assumed
loss:
  east: {west: 0.5}
access:
  lte: {rtt_ms: 30.0, jitter_ms: 4.0, loss: 0.5, up_mbit: 5, down_mbit: 20,
        source: &c {citation: c, licence: l, kind: assumed}}
  wired: {rtt_ms: 8.0, source: *c}
"""  # fmt: skip


def test_a_site_behind_a_region_is_its_line_further_away(tmp_path: Path) -> None:
    topology = load(tmp_path, LINES)
    assert topology.region_names == ["east", "west", "phone-1", "phone-2", "desk"]
    rtt = topology.rtt
    assert (rtt["phone-1"]["east"], rtt["phone-1"]["west"], rtt["west"]["phone-1"]) == (30.0, 70.0, 90.0)
    assert (rtt["phone-1"]["phone-2"], rtt["phone-1"]["desk"]) == (30.0 + 1.0 + 30.0, 30.0 + 40.0 + 8.0)
    up, down = topology.link("phone-1", "west"), topology.link("west", "phone-1")
    assert (up.rate_bps, down.rate_bps, up.jitter_ms, topology.link("desk", "west").rate_bps) == (5e6, 20e6, 4.0, None)
    assert (up.loss, down.loss, topology.link("phone-1", "phone-2").loss) == (0.75, 0.5, 0.75)


def test_of_many_sites_a_run_keeps_those_that_it_has(tmp_path: Path) -> None:
    whole = load(tmp_path, LINES)
    some = whole.only(["west", "phone-2"])
    assert some.region_names == ["west", "phone-2"]
    assert some.link("phone-2", "west") == whole.link("phone-2", "west")
    assert [one.kind for one in some.more_sources] == ["assumed"]
    assert Topology.model_validate_json(json.dumps(some.model_dump(mode="json", by_alias=True))) == some


@pytest.mark.parametrize(
    ("change", "to", "line", "says"),
    [
        ("behind: east, ", "", 7, "region 'phone' has no behind"),
        ("access: lte, ", "", 7, "region 'phone' has no access"),
        ("access: lte", "access: lt", 7, "access 'lt' is not in access; did you mean 'lte'?"),
        ("behind: east", "behind: desk", 7, "region 'desk' is not one to be behind"),
        ("count: 2", "count: 251", 7, "count"),
        ("mixed_kinds: lines are assumed\n", "", None, "assumed (access.lte.source)"),
    ],
)
def test_a_defect_of_a_line_is_refused(tmp_path: Path, change: str, to: str, line: int | None, says: str) -> None:
    assert change in LINES
    with pytest.raises(BadInput) as caught:
        load(tmp_path, LINES.replace(change, to))
    assert says in str(caught.value)
    if line is not None:
        assert str(caught.value).startswith(f"{tmp_path}/own.yaml:{line}: ")
