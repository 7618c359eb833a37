"""Timed events of an experiment: what may be said, what each pair of sites then meets, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.faults import NodeStop, node_stops, pair_events
from testbed.experiment.links import pair_schedules, replay_of
from testbed.experiment.scenario import Scenario
from testbed.network.spec.schedule import PairEvent
from testbed.network.spec.topology import load_topology

EXPERIMENT = """\
name: one
topology: aws-north-america
workload: {prompts: prose, requests: 1}
models: {target: tiny-target, draft: tiny-draft}
place: {user: [us-east-1, ca-central-1], target: us-east-1, drafter: us-west-2}
policies: [autoregressive]
events:
"""
S = 1_000_000_000
SITES = ["us-east-1", "ca-central-1", "us-west-2"]
TOPOLOGY = load_topology("aws-north-america")


def scenario(tmp_path: Path, *events: str) -> Scenario:
    path = tmp_path / "one.yaml"
    path.write_text(EXPERIMENT + "".join(f"  - {event}\n" for event in events))
    return load_scenario(path)


def pairs(tmp_path: Path, *events: str) -> dict[tuple[str, str], list[PairEvent]]:
    return pair_events(scenario(tmp_path, *events).events, TOPOLOGY, SITES)


def test_a_link_is_both_directions_and_from_to_is_one(tmp_path: Path) -> None:
    cut = PairEvent(2 * S, up=False)
    assert pairs(tmp_path, "{at_s: 2, link: [us-east-1, us-west-2], up: false}") == {
        ("us-east-1", "us-west-2"): [cut], ("us-west-2", "us-east-1"): [cut],
    }  # fmt: skip
    assert pairs(tmp_path, "{at_s: 2, link: {from: us-east-1, to: us-west-2}, up: false}") == {
        ("us-east-1", "us-west-2"): [cut]
    }


def test_a_round_trip_divides_as_the_topology_s(tmp_path: Path) -> None:
    line = "{at_s: 0.5, link: [us-east-1, us-west-2], rtt_ms: 40, rate_mbit: 2, loss: 0.01}"
    (event,) = pairs(tmp_path, line)["us-east-1", "us-west-2"]
    assert event == PairEvent(S // 2, one_way_ms=20.0, loss=0.01, rate_bps=2_000_000)


def test_a_partition_cuts_between_groups_and_heal_brings_all_back(tmp_path: Path) -> None:
    met = pairs(tmp_path, "{at_s: 3, heal: true}", "{at_s: 1, partition: [[us-east-1, ca-central-1], [us-west-2]]}")
    there_and_back = [PairEvent(S, up=False), PairEvent(3 * S, up=True)]  # by time, not by order in the file
    assert met["us-east-1", "us-west-2"] == met["us-west-2", "ca-central-1"] == there_and_back
    assert met["us-east-1", "ca-central-1"] == [PairEvent(3 * S, up=True)]


def test_nodes_stop_in_the_order_of_time(tmp_path: Path) -> None:
    events = scenario(tmp_path, "{at_s: 9, stop_node: user1}", "{at_s: 4, stop_node: drafter0}").events
    assert node_stops(events) == (NodeStop(4 * S, "drafter0"), NodeStop(9 * S, "user1"))


def test_resolved_events_are_events_again(tmp_path: Path) -> None:
    one = scenario(tmp_path, "{at_s: 2, link: {from: us-east-1, to: us-west-2}, up: false}", "{at_s: 3, heal: true}")
    assert Scenario.model_validate(one.resolved()) == one


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{link: [us-east-1, us-west-2], up: false}", "'at_s' is missing"),
        ("{at_s: -1, heal: true}", "at_s"),
        ("{at_s: 1}", "one of link, partition, heal, stop_node; this one has none"),
        ("{at_s: 1, heal: true, stop_node: user0}", "this one has heal and stop_node"),
        ("{at_s: 1, link: [us-east-1, us-west-2]}", "at least one of up, rtt_ms, loss, rate_mbit"),
        ("{at_s: 1, link: [us-east-1, us-east-1], up: false}", "us-east-1 is given twice"),
        ("{at_s: 1, link: {from: us-east-1}, up: false}", r"\[site, site\]"),
        ("{at_s: 1, heal: true, up: true}", "up belongs to a link event"),
        ("{at_s: 1, partition: [[us-east-1]]}", "partition"),
        ("{at_s: 1, partition: [[us-east-1], [us-west-2, us-east-1]]}", "us-east-1 is in two groups"),
        ("{at_s: 1, stop_node: drafter1}", "no node 'drafter1'; did you mean 'drafter0'"),
        ("{at_s: 1, lnk: [a, b], up: false}", "did you mean 'link'"),
        ("{at_s: 0, link: [us-east-1, us-west-2], up: false}", "nodes connect before a trial starts"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(BadInput, match=f"one.yaml:8: .*{words}"):
        scenario(tmp_path, line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{at_s: 1, link: [us-east-1, us-west-3], up: false}", "no region 'us-west-3'; did you mean"),
        ("{at_s: 1, partition: [[us-east-1], [us-west-1]]}", "no node is placed in us-west-1"),
    ],
)
def test_sites_that_are_not_there_are_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(BadInput, match=rf"events\.0: .*{words}"):
        pairs(tmp_path, line)


@pytest.mark.parametrize("fix", ["heal: true", "link: [us-east-1, us-west-2], up: true"])
def test_restoring_what_is_not_cut_is_refused(tmp_path: Path, fix: str) -> None:
    with pytest.raises(BadInput, match=r"events\.0: .*no link is cut at that time"):
        pairs(tmp_path, f"{{at_s: 1, {fix}}}", "{at_s: 2, link: [us-east-1, us-west-2], up: false}")
    with pytest.raises(BadInput, match=r"events\.2: .*no link is cut"):
        cut = "{at_s: 1, partition: [[us-east-1], [us-west-2]]}"
        pairs(tmp_path, cut, "{at_s: 2, heal: true}", f"{{at_s: 3, {fix}}}")


def test_a_series_and_an_event_may_not_both_set_a_round_trip(tmp_path: Path) -> None:
    series = tmp_path / "s.csv"
    series.write_text(
        "# description: d\n# kind: synthetic\n# source: s\n# licence: l\ntime_s,src,dst,rtt_ms\n"
        + "".join(f"{t},us-east-1,{site},20\n" for site in SITES[1:] for t in (0, 1))
    )
    path = tmp_path / "one.yaml"
    path.write_text(
        EXPERIMENT + "  - {at_s: 1, link: [us-east-1, us-west-2], rtt_ms: 5}\n" + f"network: {{rtt_series: {series}}}\n"
    )
    one = load_scenario(path)
    with pytest.raises(BadInput, match=r"which network\.rtt_series also sets"):
        pair_schedules(one, TOPOLOGY, replay_of(one, TOPOLOGY))
