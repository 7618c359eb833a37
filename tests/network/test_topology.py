"""A topology is either complete and unambiguous, or refused in one line with its place."""

from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.network.spec.fabric import BurstLoss
from testbed.network.spec.topology import BurstLossShares, Topology, available, load_topology

GOOD = """\
name: pair
description: two regions
source: {citation: made up, licence: Apache-2.0}
measured_on: 2026-01-01
regions:
  - {name: east, provider: none}
  - {name: west, provider: none}
intra_site_rtt_ms: 1.0
asymmetry: 0.25
rtt_ms:
  east: {west: 40.0}
  west: {east: 60.0}
"""


def load(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "pair.yaml"
    path.write_text(text)
    return load_topology(path)


def test_one_way_delay_is_the_share_of_the_figure_of_its_direction(tmp_path: Path) -> None:
    topology = load(tmp_path, GOOD)
    assert topology.one_way_ms("east", "west") == 0.25 * 40.0
    assert topology.one_way_ms("west", "east") == 0.75 * 60.0
    assert topology.rtt_ms("east", "west") == topology.rtt_ms("west", "east") == 55.0


def test_nodes_of_one_region_are_the_intra_site_rtt_apart(tmp_path: Path) -> None:
    topology = load(tmp_path, GOOD)
    assert topology.one_way_ms("east", "east") == 0.5
    assert topology.rtt_ms("east", "east") == 1.0


def test_symmetric_completes_the_missing_direction(tmp_path: Path) -> None:
    text = GOOD.replace("  west: {east: 60.0}\n", "symmetric: true\n").replace("0.25", "0.5")
    assert load(tmp_path, text).rtt_ms("west", "east") == 40.0


@pytest.mark.parametrize(
    ("change", "to", "line", "says"),
    [
        ("asymmetry:", "asymetry:", 9, "key 'asymetry' is unknown; did you mean 'asymmetry'?"),
        ("east, provider", "east, providr", 6, "key 'providr' is unknown in regions.0; did you mean 'provider'?"),
        ("{west: 40.0}", "{west: 40ms}", 11, "rtt_ms.east.west is '40ms'; write the number alone"),
        ("{west: 40.0}", "{west: -1}", 11, "rtt_ms.east.west: should be greater than or equal to 0 (it is -1)"),
        ("{west: 40.0}", "{west: .nan}", 11, ".nan is not a valid number"),
        ("{west: 40.0}", "{wst: 40.0}", 11, "region 'wst' is not in regions; did you mean 'west'?"),
        ("{west: 40.0}", "{west: 40.0, west: 41.0}", 11, "key 'west' is given twice; first on line 11"),
        ("  west: {east: 60.0}", "  east: {west: 1.0}", 12, "key 'east' is given twice; first on line 11"),
        ("  west: {east: 60.0}", "", 10, "pair west -> east is missing; give both directions, or set symmetric: true"),
        ("  west: {east: 60.0}", "  west: {east: 60.0}\nsymmetric: true", 12, "differs from"),
        ("  west: {east: 60.0}", "  west: {east: 60.0, west: 1.0}", 12, "west -> west is one region"),
        ("{name: west,", "{name: east,", 7, "region 'east' is listed twice"),
        ("intra_site_rtt_ms: 1.0\n", "", 1, "key 'intra_site_rtt_ms' is missing"),
        ("asymmetry: 0.25", "asymmetry: 1.5", 9, "asymmetry: should be less than 1"),
        ("regions:", "regions: [", 6, "is not YAML"),
    ],
)  # fmt: skip
def test_a_defect_is_refused_with_its_line(tmp_path: Path, change: str, to: str, line: int, says: str) -> None:
    assert change in GOOD
    with pytest.raises(BadInput) as caught:
        load(tmp_path, GOOD.replace(change, to))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/pair.yaml:{line}: "), message
    assert says in message
    assert "\n" not in message


def test_an_unknown_region_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no region 'eas'; did you mean 'east'"):
        load(tmp_path, GOOD).one_way_ms("eas", "west")


def test_an_unknown_topology_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'two-sites'"):
        load_topology("two-site")


@pytest.mark.parametrize("name", sorted(available()))
def test_shipped_topologies_load_and_tell_their_source(name: str) -> None:
    topology = load_topology(name)
    assert topology.name == name
    assert topology.source.citation and topology.source.licence
    assert topology.source.kind is not None
    cores = {one.name for one in topology.regions if one.behind is None}
    apart = [(a, b) for a, b in topology.pairs() if {a, b} <= cores]
    assert apart
    assert all(topology.rtt_ms(a, b) > 0 for a, b in apart)


def test_the_north_american_figures_are_the_published_ones() -> None:
    figures = load_topology("aws-north-america").rtt
    assert (figures["us-east-1"]["us-east-2"], figures["us-east-2"]["us-east-1"]) == (11.492, 11.43)
    assert (figures["us-west-2"]["sa-east-1"], figures["sa-east-1"]["us-east-1"]) == (186.747, 115.123)


EFFECTS = """\
burst_loss:
  east: {west: {p: 0.01, r: 0.25, loss_bad: 0.9}}
reorder:
  west: {east: 0.1}
rate_bps:
  east: {west: 8000000}
buffer_ms:
  east: {west: 20}
"""


def test_effects_of_a_direction_are_its_own(tmp_path: Path) -> None:
    topology = load(tmp_path, GOOD + EFFECTS)
    assert topology.burst_loss["east"]["west"].of_link() == BurstLoss(0.01, 0.25, loss_bad=0.9, loss_good=0.0)
    assert topology.reorder == {"west": {"east": 0.1}}
    assert [topology.link(*pair).buffer_bytes for pair in (("east", "west"), ("west", "east"))] == [20_000, None]


@pytest.mark.parametrize(
    ("change", "to", "line", "says"),
    [
        ("p: 0.01", "p: 1.5", 14, "burst_loss.east.west.p: should be less than or equal to 1 (it is 1.5)"),
        (", r: 0.25", "", 14, "key 'r' is missing"),
        ("r: 0.25", "q: 0.25", 14, "key 'q' is unknown"),
        ("reorder:", "loss:\n  east: {west: 0.1}\nreorder:", 14, "east -> west has loss too"),
        ("rate_bps:\n  east", "rate_bps:\n  west", 18, "west -> west is one region"),
        ("rate_bps:\n  east: {west: 8000000}\n", "", 18, "buffer_ms: east -> west has no rate_bps"),
    ],
)
def test_a_defect_of_an_effect_is_refused_with_its_line(
    tmp_path: Path, change: str, to: str, line: int, says: str
) -> None:
    assert change in EFFECTS
    with pytest.raises(BadInput) as caught:
        load(tmp_path, GOOD + EFFECTS.replace(change, to))
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{tmp_path}/pair.yaml:{line}: "), message


def test_the_experiment_s_effects_hold_between_all_different_regions(tmp_path: Path) -> None:
    burst = BurstLossShares(p=0.1, r=0.2)
    changed = load(tmp_path, GOOD).with_effects(
        {"burst_loss": burst, "reorder": 0.2, "rate_bps": 8_000_000, "buffer_ms": 10.0}
    )
    for a, b in (("east", "west"), ("west", "east")):
        assert (changed.burst_loss[a][b], changed.reorder[a][b]) == (burst, 0.2)
        assert changed.link(a, b).buffer_bytes == 10_000
    assert "burst_loss (p=0.1 r=0.2" in changed.description


def test_one_kind_of_loss_takes_the_other_s_place(tmp_path: Path) -> None:
    burst = load(tmp_path, GOOD + EFFECTS)
    lossy = burst.with_effects({"loss": 0.1})
    assert (lossy.burst_loss, lossy.loss["east"]) == ({}, {"west": 0.1})
    assert lossy.with_effects({"burst_loss": BurstLossShares(p=0.1, r=0.2)}).loss == {}
    assert burst.with_effects({"loss": 0.0}).burst_loss == {}


def test_a_buffer_is_that_of_the_links_with_a_rate(tmp_path: Path) -> None:
    changed = load(tmp_path, GOOD + EFFECTS).with_effects({"buffer_ms": 5.0})
    assert changed.buffer_ms == {"east": {"west": 5.0}}
    with pytest.raises(BadInput, match=r"network\.buffer_ms: no link .* has a rate"):
        load(tmp_path, GOOD).with_effects({"buffer_ms": 5.0})
