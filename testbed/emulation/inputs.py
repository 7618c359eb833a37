"""Everything an emulated run reads, read and checked before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from testbed.emulation import means
from testbed.emulation.loads import loads, sharing
from testbed.emulation.nodekind import NodeKind
from testbed.emulation.nodekind import choose as choose_nodes
from testbed.hardware import NodeChoice
from testbed.linkplan import pair_schedules, refuse_unmeasurable, replay_of
from testbed.models.devices import load_profile
from testbed.models.fitness import require_fit
from testbed.models.generation import end_tokens
from testbed.models.limits import Text
from testbed.models.load import check_same_tokenizer, load_config, load_generation_config, load_tokenizer, model_hash
from testbed.models.outcomes import refuse_emulation
from testbed.network.capabilities import FabricChoice, resolve_fabric
from testbed.network.capture import parse_pair
from testbed.network.network import specified_links
from testbed.network.schedule import LinkSchedule
from testbed.network.series import SeriesReplay
from testbed.network.topology import Topology, load_topology
from testbed.nodes.control import PlannedRequest
from testbed.nodes.jobs import Fitness
from testbed.policies import registry
from testbed.requests import check_enough_prompts, plan_requests
from testbed.results import manifest as provenance
from testbed.scenario import PolicyEntry, Scenario, run_id
from testbed.workload.prompts import PromptSet, load_prompts


@dataclass(frozen=True)
class Options:
    """What the command line adds to the scenario; none of it changes the outputs."""

    fabric: FabricChoice = "auto"
    out: Path = Path("runs")
    pcap: tuple[str, ...] = ()  # pairs of nodes to capture, `user0:target0`
    probe: bool = True  # watch the links in use while the run goes on
    nodes: NodeChoice = "auto"


@dataclass(frozen=True)
class Inputs:
    """See `read`."""

    scenario: Scenario
    topology: Topology
    placement: Mapping[str, str]  # node to site
    schedule: LinkSchedule  # of the links over each phase
    replay: SeriesReplay | None
    prompts: PromptSet
    encode: Callable[[str], list[int]]
    eos: tuple[int, ...]  # tokens that end an output
    model_hashes: Mapping[str, str]
    fitness: Fitness  # of the models, for what the policies ask of them
    nodes: NodeKind
    run_id: str

    @property
    def used_pairs(self) -> set[tuple[str, str]]:
        """Every node speaks with the target's, and with nobody else (`Deployment`)."""
        targets = {name for name, (role, _) in self.scenario.place.nodes().items() if role == "target"}
        return {(a, b) for a, b in permutations(self.placement, 2) if a in targets or b in targets}

    def plan(self, first: int, repeat: int) -> list[PlannedRequest]:
        """The requests of one phase, the same each time it is asked for; so nobody need keep them."""
        return plan_requests(self.scenario, self.prompts, self.encode, self.eos, first, repeat)


def read(scenario: Scenario, options: Options) -> Inputs:
    """Raises BadInput, or MachineCannot for a fabric or a kind of node that cannot be had here."""
    refuse_emulation(scenario.outcomes)
    scenario.refuse_emulation()
    topology = scenario.network.applied_to(load_topology(scenario.topology))
    placement = {name: site for name, (_, site) in scenario.place.nodes().items()}
    for site in placement.values():
        topology.one_way_ms(site, site)  # refuses a site the topology does not have
    for text in options.pcap:
        parse_pair(text, placement)
    replay = replay_of(scenario, topology)
    schedule = LinkSchedule(specified_links(topology, placement), placement, pair_schedules(scenario, topology, replay))
    refuse_unmeasurable(topology, schedule.pairs, set(placement.values()))
    prompts = load_prompts(scenario.workload.prompts)
    check_enough_prompts(scenario, prompts)
    for device in scenario.devices.model_dump().values():
        load_profile(device)
    target = scenario.models.target
    check_same_tokenizer(target, scenario.models.draft)
    tokenizer = load_tokenizer(target)
    models = scenario.models.model_dump()
    hashes = {role: model_hash(name) for role, name in models.items()}
    texts = [
        Text(one.id, ids := tokenizer.encode(one.text), len(ids) + scenario.workload.output_tokens)
        for one in prompts.prompts[: scenario.workload.requests]
    ]
    fabric, _ = resolve_fabric(options.fabric)  # refuses before anything is made
    nodes = choose_nodes(options.nodes, scenario)
    loaded = loads(scenario)
    on_gpus = {name for name in loaded if scenario.hardware(name).device != "cpu"}
    means.secure(means.of_run(loaded, sharing(loaded, nodes.name == "docker"), on_gpus))
    fitness = require_fit(models, passes_needed(scenario.policies), texts)  # last: it may load them
    ingredients = {
        "fabric": fabric,
        "code": str(provenance.code()),
        "prompts": prompts.sha256,
        "topology": topology.model_dump_json(),
        **({} if replay is None else {"rtt_series": replay.series.sha256}),
        **nodes.ingredients(),
        **hashes,
    }
    return Inputs(
        scenario,
        topology,
        placement,
        schedule,
        replay,
        prompts,
        tokenizer.encode,
        end_tokens(load_generation_config(target), load_config(target), tokenizer),
        hashes,
        fitness,
        nodes,
        run_id(scenario.resolved(), ingredients),
    )


def passes_needed(policies: Sequence[PolicyEntry]) -> dict[str, dict[str, str]]:
    """By model and kind of pass, a policy that asks for it, in words."""
    needed: dict[str, dict[str, str]] = {}
    for entry in policies:
        spec = registry.get(entry.name)
        for model, kinds in spec.passes(spec.parse(entry.params)).items():
            for kind in kinds:
                needed.setdefault(model, {}).setdefault(kind, f"policy {entry.label!r}")
    return needed
