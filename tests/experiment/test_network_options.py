"""The experiment's `network:`: what overrides the topology, what runs over time, and what an engine refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.network import NetworkOptions
from testbed.network.spec.fabric import BurstLoss
from testbed.network.spec.topology import Topology, load_topology, specified_links

EXPERIMENT = """\
name: one
topology: two-sites
workload: {prompts: prose, requests: 1}
models: {target: tiny-target, draft: tiny-draft}
place: {user: near, target: near, drafter: far}
policies: [autoregressive]
"""


def test_jitter_loss_and_rate_hold_between_all_different_regions() -> None:
    topology = load_topology("two-sites")
    changed = NetworkOptions(jitter_ms=2.0, loss=0.01, rate_mbit=5.0).applied_to(topology)
    for a, b in (("near", "far"), ("far", "near")):
        assert (changed.jitter_ms[a][b], changed.loss[a][b], changed.rate_bps[a][b]) == (2.0, 0.01, 5_000_000)
    assert "near" not in changed.loss["near"]
    assert changed.rtt == topology.rtt and "set by the experiment" in changed.description


def test_burst_loss_reordering_and_buffer_reach_every_link_of_the_network() -> None:
    options = NetworkOptions.model_validate(
        {"burst_loss": {"p": 0.1, "r": 0.2}, "reorder": 0.1, "rate_mbit": 8, "buffer_ms": 20}
    )
    topology = options.applied_to(load_topology("two-sites"))
    assert Topology.model_validate_json(topology.model_dump_json(by_alias=True)) == topology  # as a manifest keeps it
    for link in specified_links(topology, {"a": "near", "b": "far"}):
        assert (link.burst_loss, link.reorder, link.buffer_bytes) == (BurstLoss(0.1, 0.2), 0.1, 20_000)


def test_zero_takes_a_topology_s_own_loss_away_and_nothing_said_leaves_it() -> None:
    topology = load_topology("two-sites").model_copy(update={"loss": {"near": {"far": 0.1}}})
    assert NetworkOptions(loss=0.0).applied_to(topology).loss.get("near", {}) == {}
    assert NetworkOptions().applied_to(topology) is topology


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("network: {speed: 2}", "network.speed has no effect without network.rtt_series"),
        ("network: {at_end: hold}", "network.at_end has no effect"),
        ("network: {series_sites: {near: n1}}", "network.series_sites has no effect"),
        ("network: {rtt_series: x, rtt_ms: 5}", "both set round-trip times"),
        ("network: {loss: 1}", "network.loss"),
        ("network: {loss: 0.1, burst_loss: {p: 0.1, r: 0.2}}", "both set the loss"),
        ("network: {burst_loss: {p: 0.1}}", "key 'r' is missing"),
        ("network: {reorder: 2}", "network.reorder"),
        ("network: {buffer_ms: 0}", "network.buffer_ms"),
        ("network: {jitter_ms: 2ms}", "write the number alone"),
        ("network: {rtt_serie: x}", "did you mean 'rtt_series'"),
        ("network: {rtt_series: x, speed: 0}", "network.speed"),
        ("network: {rtt_series: x, at_end: stop}", "network.at_end"),
    ],
)
def test_what_would_do_nothing_or_makes_no_sense_is_refused_with_its_line(
    tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(EXPERIMENT + line + "\n")
    with pytest.raises(BadInput, match=f"one.yaml:7: .*{words}"):
        load_scenario(path)


def test_resolved_options_are_options_again(tmp_path: Path) -> None:
    """A manifest holds every default filled in, and is read back by calibrate."""
    effects = "network: {burst_loss: {p: 0.1, r: 0.2}, reorder: 0.1, rate_mbit: 5, buffer_ms: 20}"
    for line in ("", "network: {rtt_series: x, speed: 3, series_sites: {near: n1}}", effects):
        path = tmp_path / "one.yaml"
        path.write_text(EXPERIMENT + line + "\n")
        one = load_scenario(path)
        assert type(one).model_validate(one.resolved()) == one
