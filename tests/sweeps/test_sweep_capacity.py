"""Capacities as points: the same for any number of processes, none searched twice, a failure loses no other."""

import dataclasses
from pathlib import Path

import pytest

from testbed.errors import BadInput, RunInvalid
from testbed.experiment.document import load_scenario
from testbed.simulation.capacity import SearchOptions, find_capacity
from testbed.simulation.capacityrows import curve, draws
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.sweeps import capacity
from testbed.sweeps.capacity import run_capacity

FLEET = Path(__file__).parents[2] / "experiments/wisp/fleet.yaml"
SMALL = ("workload.output_tokens=10", "policies=[centralised, {wisp: {basis: whole}}]")
QUICK = SearchOptions(duration_s=3.0, stagger_s=1.0, most_users=3)
RATES = (2.0, 8.0)
FLEET_PROMPTS = str(FLEET.parents[2] / "workloads/prompts/prose.jsonl")


class Watcher:
    def __init__(self):
        self.totals = []

    def note(self, text):
        pass

    def total(self, points, finished):
        self.totals.append((points, finished))

    def advance(self, points):
        pass


def searched(out, processes=1, watcher=None, labels=()):
    return run_capacity(FLEET, SMALL, RATES, labels, QUICK, out, processes, watcher or Watcher())


def test_every_policy_is_searched_at_every_rate_as_the_search_alone_would(tmp_path):
    found = searched(tmp_path)
    assert [(one.rate_per_s, one.policy) for one in found] == [(r, p) for r in RATES for p in ("centralised", "wisp")]
    scenario = load_scenario(FLEET, SMALL)
    inputs = from_scenario(scenario, None, NO_OVERHEADS, lambda line: None)
    alone = find_capacity([inputs], scenario.policies[1], 8.0, QUICK)
    result = found[3].result
    assert result is not None and result["capacity"] == alone.scopes["per_request"].users
    assert result["curve"] == curve(alone) and result["draws"] == draws(alone)


@pytest.mark.slow
def test_prompt_sets_are_searched_one_by_one_and_seeds_together(tmp_path):
    options = dataclasses.replace(QUICK, seeds=(1, 2), scopes=("per_request",))
    found = run_capacity(FLEET, SMALL, (8.0,), ["wisp"], options, tmp_path, 1, Watcher(), ["prose", FLEET_PROMPTS])
    assert [one.prompts for one in found] == ["prose", FLEET_PROMPTS]
    assert all(one.error is None and one.result["curve"][0]["requests"] > 0 for one in found)


@pytest.mark.slow
def test_nothing_is_searched_twice_and_processes_change_nothing(tmp_path, monkeypatch):
    first = searched(tmp_path / "one", processes=2)
    alone = searched(tmp_path / "two", labels=["wisp"])
    assert [one.result["capacity"] for one in first if one.policy == "wisp"] == [
        one.result["capacity"] for one in alone
    ]
    monkeypatch.setattr(capacity, "find_capacity", None)  # would fail if it were asked
    watcher = Watcher()
    again = searched(tmp_path / "one", watcher=watcher)
    assert watcher.totals == [(4, 4)]
    assert [one.result["capacity"] for one in again] == [one.result["capacity"] for one in first]


def test_a_search_that_fails_loses_no_other_and_is_tried_again(tmp_path, monkeypatch):
    def failing(inputs, entry, rate, options):
        if entry.label == "wisp":
            raise RunInvalid("a probe came to rest")
        return find_capacity(inputs, entry, rate, options)

    monkeypatch.setattr(capacity, "find_capacity", failing)
    found = searched(tmp_path)
    assert [one.error for one in found] == [None, "a probe came to rest"] * 2
    monkeypatch.undo()
    watcher = Watcher()
    assert all(one.error is None for one in searched(tmp_path, watcher=watcher))
    assert watcher.totals == [(4, 2)]


def test_a_label_that_is_not_there_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(BadInput, match="'wips': no such policy; did you mean 'wisp'"):
        searched(tmp_path, labels=["wips"])
    assert not list(tmp_path.iterdir())
