"""The capacities of an experiment's policies at several SLO rates, in parallel: what `testbed capacity` does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from testbed.errors import BadInput
from testbed.experiment.document import load_scenario
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.scenario import Scenario
from testbed.simulation.capacity import Capacity, SearchOptions, find_capacity
from testbed.simulation.inputs import FILES, SimulationInputs, Sources, from_scenario
from testbed.simulation.probing import Rates
from testbed.simulation.world import NO_OVERHEADS
from testbed.tables.outcomes import MadeUp

SEPARATOR, BESIDE = ",", "+"
MOST_SEEDS = 1000


def parse_rates(text: str) -> list[Rates]:
    """Rates from `2,4,2+4+8`: users of one class, of another, and of three in equal parts. Raises BadInput."""
    try:
        mixes = [tuple(float(word) for word in part.split(BESIDE)) for part in text.split(SEPARATOR)]
    except ValueError:
        mixes = []
    if not mixes or not all(0 < rate < math.inf for mix in mixes for rate in mix):
        raise BadInput(f"--rates {text!r}: write tokens/s, all above 0, as in 2,4,6,8 or 2+4+6+8 for a mix")
    return [mix if len(mix) > 1 else mix[0] for mix in mixes]


def parse_seeds(text: str | None) -> tuple[int, ...]:
    """Seeds from `1,2,3` or `1-10`; none from None. Raises BadInput."""
    if text is None:
        return ()
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(SEPARATOR)]
        seeds = [seed for part in ends for seed in range(part[0], part[-1] + 1)]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or len(seeds) > MOST_SEEDS or any(len(part) > 2 for part in ends):
        raise BadInput(f"--seeds {text!r}: write each seed once, at most {MOST_SEEDS}, as in 1,2,3 or 1-10")
    return tuple(seeds)


def capacities(
    experiment: Path,
    overrides: Sequence[str],
    rates: Sequence[Rates],
    labels: Sequence[str],
    prompts: Sequence[str],
    options: SearchOptions,
    table: str | None,
    workers: int,
    note: Callable[[str], None],
) -> Iterator[tuple[str, Capacity]]:
    """One after another as they are found, with their prompt set: by set, then rate, then the experiment's policies."""
    scenario = load_scenario(experiment, overrides)
    entries = [entry for entry in scenario.policies if not labels or entry.label in labels]
    known = [entry.label for entry in scenario.policies]
    if wrong := [label for label in labels if label not in known]:
        raise BadInput(f"--policy {wrong[0]}: not in the experiment; its policies are {', '.join(known)}")
    each = with_prompts(scenario, prompts)
    for one in each:  # what is wrong is said before processes are started
        seeded_inputs(one, options.seeds, table, note, FILES)
    work = [(one, entry, rate, options, table) for one in each for rate in rates for entry in entries]
    named = [one.workload.prompts for one, *_ in work]
    if workers == 1:
        yield from zip(named, map(_one, work), strict=True)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from zip(named, pool.map(_one, work), strict=True)


def with_prompts(scenario: Scenario, prompts: Sequence[str]) -> list[Scenario]:
    """The experiment once for each prompt set; without any, as it is."""
    if prompts and isinstance(scenario.outcomes, MadeUp):
        raise BadInput("prompt sets: outcomes are made up here, and so are their prompts; give seeds instead")
    return [
        scenario.model_copy(update={"workload": scenario.workload.model_copy(update={"prompts": name})})
        for name in prompts
    ] or [scenario]


def seeded_inputs(
    scenario: Scenario, seeds: Sequence[int], table: str | None, note: Callable[[str], None], sources: Sources
) -> list[SimulationInputs]:
    """Of the experiment with each seed; without any, with its own."""
    each = [scenario.model_copy(update={"seed": seed}) for seed in seeds] or [scenario]
    return [from_scenario(one, table, NO_OVERHEADS, note, sources) for one in each]


def _one(work: tuple[Scenario, PolicyEntry, Rates, SearchOptions, str | None]) -> Capacity:
    scenario, entry, rate, options, table = work
    inputs = seeded_inputs(scenario, options.seeds, table, lambda line: None, FILES)
    return find_capacity(inputs, entry, rate, options)
