"""Everything an emulated run reads besides its experiment (`resolve`), read and checked before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from testbed.emulation import means
from testbed.emulation.loads import loads, processes, sharing
from testbed.emulation.nodekind import NodeKind, fitted
from testbed.emulation.nodekind import choose as choose_nodes
from testbed.emulation.timeouts import refuse_long_cuts
from testbed.errors import BadInput
from testbed.experiment.compute import NodeChoice
from testbed.experiment.links import refuse_unmeasurable
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.resolve import FILES, Resolved, resolve
from testbed.experiment.scenario import Scenario
from testbed.models.facts import facts_of, tokenizer_of
from testbed.models.fit import Fitness
from testbed.models.fitness import require_fit, slower
from testbed.models.limits import Text
from testbed.models.load import check_same_tokenizer, require_known
from testbed.network.capabilities import FabricChoice, resolve_fabric
from testbed.network.measure.capture import parse_pair
from testbed.results import manifest as provenance
from testbed.simulation.inputs import SimulationInputs, from_scenario
from testbed.simulation.world import NO_OVERHEADS
from testbed.workload.planned import PlannedRequest


@dataclass(frozen=True)
class Options:
    """What the command line adds to the scenario; none of it changes the outputs."""

    fabric: FabricChoice = "auto"
    out: Path = Path("runs")
    pcap: tuple[str, ...] = ()  # pairs of nodes to capture, `user0:target0`
    probe: bool = True  # watch the links in use while the run goes on
    nodes: NodeChoice = "auto"
    plan: bool = True  # a pilot first, which chooses the dilation and says what is to be expected


@dataclass(frozen=True)
class Inputs:
    """See `read`."""

    experiment: Resolved
    encode: Callable[[str], Sequence[int]]
    eos: tuple[int, ...]  # tokens that end an output
    model_hashes: Mapping[str, str]
    fitness: Fitness  # of the models, for what the policies ask of them
    nodes: NodeKind
    run_id: str
    recorded: SimulationInputs | None = None  # the answers in place of models

    @property
    def scenario(self) -> Scenario:
        return self.experiment.scenario

    @property
    def used_pairs(self) -> set[tuple[str, str]]:
        """Every node exchanges messages with the target's node only (`Deployment`)."""
        targets = {name for name, (role, _) in self.scenario.place.nodes().items() if role == "target"}
        return {(a, b) for a, b in permutations(self.experiment.placement, 2) if a in targets or b in targets}

    def plan(self, first: int, repeat: int) -> list[PlannedRequest]:
        """The requests of one phase, the same at each call, so that they need not be kept."""
        if self.recorded is not None:
            return self.recorded.plan(first, repeat)
        return self.experiment.plan(self.encode, self.eos, first, repeat)


def read(scenario: Scenario, options: Options, note: Callable[[str], None] = lambda text: None) -> Inputs:
    """Raises BadInput, or MachineCannot for a fabric or a kind of node that is not available here."""
    scenario.refuse_emulation()
    if scenario.compute.recorded:
        return _recorded(scenario, options, note)
    experiment = resolve(scenario, FILES)
    for text in options.pcap:
        parse_pair(text, experiment.placement)
    refuse_unmeasurable(experiment.topology, experiment.schedule.pairs, set(experiment.sites))
    refuse_long_cuts(experiment)
    models = scenario.models.model_dump()
    require_known(**models)  # an unknown name is said before the machine is looked at
    fabric, _ = resolve_fabric(options.fabric)  # refuses before anything is made, or slow to read
    nodes = choose_nodes(options.nodes, scenario)
    target = scenario.models.target
    check_same_tokenizer(target, scenario.models.draft, tokenizer_of)
    tokenizer = tokenizer_of(target)
    hashes = {role: FILES.weights(name) for role, name in models.items()}
    ends = facts_of(target).ends
    asked = [one for repeat in range(scenario.repeats) for one in experiment.plan(tokenizer.encode, ends, 1, repeat)]
    texts = [
        Text(one.prompt_id, one.prompt, len(one.prompt) + one.max_tokens)
        for one in {(each.prompt_id, each.max_tokens): each for each in asked}.values()
    ]
    loaded = loads(scenario)
    on_gpus = {name for name in loaded if scenario.compute_of(name).accelerator != "cpu"}
    served = sharing(loaded, nodes.name == "docker")
    means.secure(means.of_run(loaded, served, on_gpus))
    fitness = require_fit(models, passes_needed(scenario.policies), texts)  # last: it may load them
    for line in slower(models, fitness):
        note(line)
    means.secure(means.of_run(loaded, served, on_gpus, {models[role] for role in fitness.packs}))
    nodes = fitted(nodes, scenario, loaded, fitness.packs)
    more = {"fabric": fabric, "code": str(provenance.code()), **nodes.ingredients(), **hashes}
    return Inputs(experiment, tokenizer.encode, ends, hashes, fitness, nodes, experiment.run_id(more))


def _recorded(scenario: Scenario, options: Options, note: Callable[[str], None]) -> Inputs:
    """Of a run without models: what they would do is in a decode table."""
    if options.nodes == "docker" or any(scenario.compute_of(name).needs_container for name in scenario.place.nodes()):
        raise BadInput(
            "compute.models: recorded has no models to put into containers; use --nodes process, and remove gpus, "
            "cpus, memory and tmp"
        )
    found = from_scenario(scenario, None, NO_OVERHEADS, note, simulated=False)
    experiment, made_of = found.experiment, found.table.provenance
    for text in options.pcap:
        parse_pair(text, experiment.placement)
    refuse_unmeasurable(experiment.topology, experiment.schedule.pairs, set(experiment.sites))
    refuse_long_cuts(experiment)
    fabric, _ = resolve_fabric(options.fabric)
    nodes = choose_nodes(options.nodes, scenario)
    means.secure(means.of_run(processes(scenario), []))
    note(f"recorded compute: no model runs; tokens come from decode table {found.table.name}")
    hashes = {"target": made_of.target_sha256, "draft": made_of.draft_sha256}
    more = {"fabric": fabric, "code": str(provenance.code()), **nodes.ingredients(), "table": found.table.sha256}
    run_id = experiment.run_id(more)
    return Inputs(experiment, found.encode, made_of.ends, hashes, Fitness(), nodes, run_id, found)


def passes_needed(policies: Sequence[PolicyEntry]) -> dict[str, dict[str, str]]:
    """By model and kind of pass, a policy that asks for it, in words."""
    needed: dict[str, dict[str, str]] = {}
    for entry in policies:
        spec = entry.spec
        for model, kinds in spec.passes(spec.parse(entry.params)).items():
            for kind in kinds:
                needed.setdefault(model, {}).setdefault(kind, f"policy {entry.label!r}")
    return needed
