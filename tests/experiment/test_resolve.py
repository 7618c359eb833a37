"""An experiment is read once: both engines and sweeps get what `resolve` makes of it."""

from __future__ import annotations

import ast
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import testbed
from testbed.errors import BadInput
from testbed.experiment.resolve import Resolved, resolve
from testbed.experiment.scenario import Scenario
from testbed.network.spec.fabric import BurstLoss, Link
from testbed.network.spec.schedule import PairSchedule
from testbed.network.spec.topology import load_topology, specified_links
from testbed.simulation.links import LinkSpec, link_specs

ROOT = Path(testbed.__file__).parent
READERS = {"load_series", "replay_of", "pair_schedules", "check_enough_prompts", "plan_requests", "applied_to"}


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "one",
            "topology": "two-sites",
            "workload": {"prompts": "prose", "requests": 1, "output_tokens": 10},
            "models": {"target": "tiny-target", "draft": "tiny-draft"},
            "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
            "place": {"user": "near", "target": "near", "drafter": "far"},
            "policies": ["autoregressive"],
            **changes,
        }
    )


def readers(path: Path) -> set[str]:
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    return called & READERS


def test_no_engine_and_no_sweep_reads_an_experiment_by_itself() -> None:
    resolving = readers(ROOT / "experiment" / "resolve.py")
    assert resolving >= {"replay_of", "pair_schedules", "check_enough_prompts", "applied_to"}
    engines = [path for folder in ("emulation", "simulation", "sweep") for path in (ROOT / folder).rglob("*.py")]
    assert engines and {path.name: found for path in engines if (found := readers(path))} == {}


def test_a_site_that_is_not_there_and_too_few_prompts_are_refused() -> None:
    with pytest.raises(BadInput, match="two-sites: no region 'fra'"):
        resolve(scenario(place={"user": "near", "target": "near", "drafter": "fra"}))
    with pytest.raises(BadInput, match="holds"):
        resolve(scenario(workload={"prompts": "prose", "requests": 5000, "output_tokens": 10}))


def test_the_run_id_depends_on_what_the_files_hold() -> None:
    made = resolve(scenario())
    slower = {role: one.model_copy(update={"source": "another"}) for role, one in made.devices.items()}
    others: list[Resolved] = [
        replace(made, topology=made.topology.with_rtt_ms(3.0)),
        replace(made, prompts=msgspec.structs.replace(made.prompts, sha256="0")),
        replace(made, devices=slower),
        resolve(scenario(seed=4)),
    ]
    ids = {made.run_id({}), made.run_id({"code": "x"}), *(one.run_id({}) for one in others)}
    assert len(ids) == 2 + len(others) and resolve(scenario()).run_id({}) == made.run_id({})


def test_the_slowest_round_trip_is_over_the_whole_phase() -> None:
    assert resolve(scenario()).slowest_rtt_ms == 20.0
    assert resolve(scenario(place={"user": "near", "target": "near", "drafter": "near"})).slowest_rtt_ms == 1.0
    later = [{"at_s": 1, "link": ["near", "far"], "rtt_ms": 90}]
    assert resolve(scenario(events=later)).slowest_rtt_ms == 90.0


def test_a_simulated_link_takes_every_field_of_a_specified_one() -> None:
    plain = Link("near", "far", 10.0)
    changed: dict[str, Any] = {
        "one_way_ms": 11.0, "loss": 0.1, "rate_bps": 10**6, "jitter_ms": 1.0, "burst_loss": BurstLoss(0.1, 0.2),
        "reorder": 0.1, "up": False, "buffer_bytes": 15_140,
    }  # fmt: skip
    assert {field.name for field in fields(Link)} == {"src", "dst", *changed}
    before = LinkSpec.of(plain, PairSchedule(), "two-sites")
    for key, value in changed.items():
        assert LinkSpec.of(replace(plain, **{key: value}), PairSchedule(), "two-sites") != before, key


def test_both_engines_have_the_same_links() -> None:
    topology, placement = load_topology("aws-north-america"), {"a": "us-east-1", "b": "us-west-2", "c": "us-east-1"}
    specified = specified_links(topology, placement)
    specs = link_specs(topology, placement)
    assert {(one.src, one.dst): one.one_way_ms for one in specified} == {
        pair: spec.one_way_ms for pair, spec in specs.items()
    }
