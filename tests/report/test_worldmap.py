"""A topology as text and as SVG: nothing is missing, nothing is wider than asked, nothing covers anything."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from testbed.network.spec.topology import available, load_topology
from testbed.report.worldmap import SHADES, sites, text_map, text_matrix, window
from testbed.report.worldsvg import DOT, apart, drawing

ALL = sorted(available())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ALL)
def test_text_keeps_to_its_width_and_names_every_region(name: str, width: int) -> None:
    topology = load_topology(name)
    found = sites(topology)
    drawn, matrix = text_map(found, width), text_matrix(topology, found, width)
    assert all(len(line) <= width for line in [*drawn, *matrix])
    for one in found:
        assert sum(one.name in line for line in matrix) >= 1
        assert not drawn or any(one.name in line for line in drawn)


def test_figures_where_they_fit_and_shades_where_they_do_not() -> None:
    topology = load_topology("wanspec")
    lines = text_matrix(topology, sites(topology), 80)
    assert re.fullmatch(r"1 us-east-1 +- +11\.46 +68\.38 +14\.14 +76\.77 +187\.67", lines[1])
    narrow = text_matrix(topology, sites(topology), 50)
    assert re.fullmatch(r"1 us-east-1 +- +11 +68 +14 +77 +188", narrow[1])
    world = load_topology("world-50")
    shaded = text_matrix(world, sites(world), 80)
    rows = [line for line in shaded if re.match(r" ?[0-9]+ [a-z]", line)]
    assert len(rows) == 50 and all(set(line[-50:]) <= {*SHADES, "\\"} for line in rows)
    assert text_matrix(world, sites(world), None)[1].count(".") == 49


def test_shades_follow_the_figures() -> None:
    topology = load_topology("world-50")
    rows = {
        line.split()[1]: line[-50:]
        for line in text_matrix(topology, sites(topology), 80)
        if re.match(r" ?[0-9]+ [a-z]", line)
    }
    names = topology.region_names
    told = [(topology.rtt_ms(a, b), SHADES.index(rows[a][at])) for a in names for at, b in enumerate(names) if a != b]
    told.sort()
    assert [shade for _, shade in told] == sorted(shade for _, shade in told)
    counts = [sum(shade == number for _, shade in told) for number in range(len(SHADES))]
    assert max(counts) < 1.2 * len(told) / len(SHADES)


def test_sites_that_are_alike_have_one_row() -> None:
    found = sites(load_topology("edge-fleet-200"))
    assert len(found) == 5 + 5 * 4
    assert found[5].name == "us-east-1-wired-1 (1 of 10)"
    assert (found[5].lat, found[5].lon) == (found[0].lat, found[0].lon)


def test_regions_lie_where_they_are() -> None:
    found = {one.name: one for one in sites(load_topology("wanspec"))}
    view = window(list(found.values()))
    assert view is not None and view.west < -120 and view.east > 73
    lines = text_map(list(found.values()), 80)
    marks = {re.split(r" ", one, maxsplit=1)[1]: one[0] for line in lines[-2:] for one in re.findall(r"\w \S+", line)}
    where = {
        name: (row, line.index(mark))
        for name, mark in marks.items()
        for row, line in enumerate(lines[:-3])
        if mark in line
    }
    assert where["us-west-2"][1] < where["us-east-1"][1] < where["eu-west-2"][1] < where["ap-south-1"][1]
    assert where["eu-west-2"][0] < where["us-east-1"][0] < where["ap-south-1"][0]


@pytest.mark.parametrize("name", ALL)
def test_the_svg_is_whole(name: str) -> None:
    topology = load_topology(name)
    root = ET.fromstring(drawing(topology))
    space = "{http://www.w3.org/2000/svg}"
    texts = [one.text or "" for one in root.iter(f"{space}text")]
    cells = [one.text or "" for one in root.iter(f"{space}title") if " ms" in (one.text or "")]
    found = sites(topology)
    assert all(any(one.name in text for text in texts) for one in found)
    linked = sum(a is not b and topology.linked(a.region.name, b.region.name) for a in found for b in found)
    assert len(cells) == linked
    assert any(topology.source.citation[:20] in text for text in texts)
    height = float(root.attrib["height"])
    for one in root.iter(f"{space}text"):
        assert 0 <= float(one.attrib["x"]) <= 1000 and 0 < float(one.attrib["y"]) < height


def test_numbers_do_not_cover_each_other() -> None:
    moved = apart([(100.0, 100.0)] * 12 + [(105.0, 100.0), (300.0, 50.0)], (0, 1000, 0, 500))
    assert all(((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5 > 1.8 * DOT for (ax, ay), (bx, by) in combinations(moved, 2))
    assert moved == apart([(100.0, 100.0)] * 12 + [(105.0, 100.0), (300.0, 50.0)], (0, 1000, 0, 500))
