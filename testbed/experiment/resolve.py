"""An experiment with everything that its file names, read and checked once, for both engines and for sweeps.

Rule kept: whichever engine runs an experiment, it gets the same topology, links, schedules, prompts and device profiles
from the same file, or the same refusal. What only one of them needs (models, decode tables, fabrics) it reads itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any

from testbed.experiment.background import names_of, on_nodes
from testbed.experiment.filepaths import changed
from testbed.experiment.links import pair_schedules, replay_of
from testbed.experiment.requests import Encode, check_enough_prompts, plan_requests
from testbed.experiment.scenario import Scenario, run_id
from testbed.experiment.timing import chosen, refuse_native
from testbed.models.devices import DeviceProfile, load_profile
from testbed.models.load import model_hash
from testbed.network.spec.fabric import Pair
from testbed.network.spec.schedule import LinkSchedule, PairSchedule
from testbed.network.spec.series import RttSeries, SeriesReplay, load_series
from testbed.network.spec.topology import Topology, load_topology, specified_links
from testbed.workload.background import Background
from testbed.workload.load.source import Load, load_load
from testbed.workload.planned import PlannedRequest
from testbed.workload.prompts import PromptSet, load_prompts


class Sources:
    """Where an experiment's files are read from. A sweep brings one that reads each of them once."""

    def topology(self, name: str) -> Topology:
        return load_topology(name)

    def series(self, name: str) -> RttSeries:
        return load_series(name)

    def prompts(self, name: str) -> PromptSet:
        return load_prompts(name)

    def weights(self, name: str) -> str:
        """The hash of a model."""
        return model_hash(name)

    def load(self, name: str) -> Load:
        return load_load(name)

    def profile(self, name: str) -> DeviceProfile:
        return load_profile(name)


FILES = Sources()
DRAIN_MARGIN_S = 0.1  # beyond one round trip


@dataclass(frozen=True)
class Resolved:
    """See `resolve`."""

    scenario: Scenario
    topology: Topology  # with what the experiment changes in it
    replay: SeriesReplay | None  # round-trip times over the run; None: the topology's, all the time
    schedules: Mapping[Pair, PairSchedule]  # of the directed pairs of sites that change during a phase
    prompts: PromptSet
    devices: Mapping[str, DeviceProfile]  # by key of `devices:`
    dilation: float  # N of an emulation: wall time by virtual time
    load: Load | None = None  # what says when requests come and how long they are
    loads: Mapping[str, Load] = field(default_factory=dict)  # of other tenants, by name

    @cached_property
    def placement(self) -> dict[str, str]:
        """Node to site."""
        return {name: site for name, (_, site) in self.scenario.place.nodes().items()}

    @property
    def sites(self) -> list[str]:
        return list(dict.fromkeys(self.placement.values()))

    @cached_property
    def schedule(self) -> LinkSchedule:
        """The link of every directed pair of nodes over a phase."""
        return LinkSchedule(specified_links(self.topology, self.placement), self.placement, self.schedules)

    @cached_property
    def slowest_rtt_ms(self) -> float:
        """The longest round trip between two sites, or inside one, at any time of a phase; jitter and losses apart."""
        sites = {site: site for site in self.sites}
        inside = max(self.topology.rtt_ms(site, site) for site in sites)
        if len(sites) == 1:
            return inside
        return max(inside, LinkSchedule(specified_links(self.topology, sites), sites, self.schedules).slowest_rtt_ms())

    @property
    def drain_s(self) -> float:
        """How long both engines wait after a phase's last answer, for what is still in flight."""
        return self.slowest_rtt_ms / 1e3 + DRAIN_MARGIN_S

    def plan(
        self, encode: Encode, eos: tuple[int, ...], first: int, repeat: int, made: Encode | None = None
    ) -> list[PlannedRequest]:
        """The requests of one phase, the same at each call, so that they need not be kept."""
        return plan_requests(self.scenario, self.prompts, encode, eos, first, repeat, self.load, made)

    def background(self, repeat: int) -> dict[str, Background]:
        """The other tenants of each node's device in a repeat."""
        scenario = self.scenario
        window = scenario.workload.window or (0.0, 0.0)
        return on_nodes(
            scenario.background,
            scenario.place.nodes(),
            self.devices,
            scenario.seed + repeat,
            self.loads.__getitem__,
            window[0],
        )

    def run_id(self, more: Mapping[str, str]) -> str:
        """`more`: what decides the run besides the experiment and its files."""
        return run_id(changed(self.scenario.resolved(), _any_path, models=False), {**self._contents(), **more})

    def _contents(self) -> dict[str, str]:
        """Of the files that the experiment names: it has their names alone."""
        # what kind of figures they are changes none of them
        topology = self.topology.model_dump_json(exclude={"source": {"kind"}})
        found = {"topology": topology, "prompts": self.prompts.sha256}
        if self.replay is not None:
            found["rtt_series"] = self.replay.series.sha256
        if self.load is not None:
            found["load"] = self.load.sha256
        found |= {f"load.{name}": load.sha256 for name, load in self.loads.items()}
        return found | {
            f"device.{role}": profile.model_dump_json(exclude={"name"}) for role, profile in self.devices.items()
        }

    def facts(self) -> dict[str, Any]:
        """What the manifest of either engine says of it."""
        return {
            "experiment": self.scenario.name,
            "scenario": self.scenario.resolved(),
            "prompts": {"name": self.prompts.name, "sha256": self.prompts.sha256},
            "topology": self.topology.model_dump(mode="json", by_alias=True),
            "rtt_series": None if self.replay is None else self.replay.series.as_manifest(),
            **({} if not self.loads else {"tenants": [load.as_manifest() for load in self.loads.values()]}),
            **({} if self.load is None else {"load": self._load_facts(self.load)}),
            **({"pass_times": varying} if (varying := self._varying()) else {}),
            **self.cost_facts(),
        }

    def cost_facts(self) -> dict[str, Any]:
        """What metrics of cost read of the manifest beside its prices."""
        return {
            "node_placement": dict(self.placement),
            **({"powers": powers} if (powers := self._powers()) else {}),
        }

    def _powers(self) -> dict[str, dict[str, Any]]:
        """What devices draw, by role, where their profile says so."""
        known = {role: profile.power for role, profile in self.devices.items()}
        return {role: power.model_dump() for role, power in known.items() if power is not None}

    def _load_facts(self, load: Load) -> dict[str, Any]:
        """Of a load as it was sent."""
        return {
            **load.as_manifest(),
            "answers": "as long as the load says, or output_tokens where that is less: no text ends them",
            "prompts": f"made of prompt set {self.prompts.name}, one after another, cut to the load's lengths",
        }

    def _varying(self) -> dict[str, str]:
        """Law and source of devices whose passes vary, by role."""
        laws = {role: profile.varies for role, profile in self.devices.items()}
        return {role: f"{law.law} ({law.source})" for role, law in laws.items() if law is not None}


def _any_path(path: str) -> str:
    """Where a file lies decides nothing: what it holds does."""
    return Path(path).suffix


def resolve(
    scenario: Scenario,
    sources: Sources = FILES,
    topology: Topology | None = None,
    prompts: PromptSet | None = None,
) -> Resolved:
    """Reads what the experiment names. Raises BadInput, naming file, place and what to do.

    `topology` and `prompts` take the place of those that it names: of a run that was, or of made-up outcomes.
    """
    if topology is None:
        topology = scenario.network.applied_to(sources.topology(scenario.topology))
    sites = dict.fromkeys(site for _, site in scenario.place.nodes().values())
    for site in sites:
        topology.one_way_ms(site, site)  # refuses a site that the topology does not have
    for a, b in permutations(sites, 2):
        topology.one_way_ms(a, b)  # and a pair that it has no figure for
    if topology.access:  # hundreds of sites, of which a run has a few
        topology = topology.only(sites)
    replay = replay_of(scenario, topology, sources.series)
    schedules = pair_schedules(scenario, topology, replay)
    if prompts is None:
        prompts = sources.prompts(scenario.workload.prompts)
    check_enough_prompts(scenario, prompts)
    devices = {role: sources.profile(name) for role, name in scenario.devices.model_dump().items()}
    dilation = chosen(scenario.time)
    refuse_native(dilation, [role for role in scenario.devices_in_use() if devices[role].native])
    load = None if scenario.workload.load is None else sources.load(scenario.workload.load)
    loads = {name: sources.load(name) for name in names_of(scenario.background)}
    resolved = Resolved(scenario, topology, replay, schedules, prompts, devices, dilation, load, loads)
    resolved.background(0)  # refuses what cannot be shared
    return resolved
