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
from testbed.simulation.capacity import Capacity, Rates, SearchOptions, find_capacity
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS

SEPARATOR, BESIDE = ",", "+"


def parse_rates(text: str) -> list[Rates]:
    """Rates from `2,4,2+4+8`: users of one class, of another, and of three in equal parts. Raises BadInput."""
    try:
        mixes = [tuple(float(word) for word in part.split(BESIDE)) for part in text.split(SEPARATOR)]
    except ValueError:
        mixes = []
    if not mixes or not all(0 < rate < math.inf for mix in mixes for rate in mix):
        raise BadInput(f"--rates {text!r}: write tokens/s, all above 0, as in 2,4,6,8 or 2+4+6+8 for a mix")
    return [mix if len(mix) > 1 else mix[0] for mix in mixes]


def capacities(
    experiment: Path,
    overrides: Sequence[str],
    rates: Sequence[Rates],
    labels: Sequence[str],
    options: SearchOptions,
    table: str | None,
    workers: int,
    note: Callable[[str], None],
) -> Iterator[Capacity]:
    """One after another as they are found, policies in the experiment's order within each rate."""
    scenario = load_scenario(experiment, overrides)
    entries = [entry for entry in scenario.policies if not labels or entry.label in labels]
    known = [entry.label for entry in scenario.policies]
    if wrong := [label for label in labels if label not in known]:
        raise BadInput(f"--policy {wrong[0]}: not in the experiment; its policies are {', '.join(known)}")
    from_scenario(scenario, table, NO_OVERHEADS, note)  # what is wrong is said before processes are started
    work = [(scenario, entry, rate, options, table) for rate in rates for entry in entries]
    if workers == 1:
        yield from map(_one, work)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, work)


def _one(work: tuple[Scenario, PolicyEntry, Rates, SearchOptions, str | None]) -> Capacity:
    scenario, entry, rate, options, table = work
    inputs = from_scenario(scenario, table, NO_OVERHEADS, lambda line: None)
    return find_capacity(inputs, entry, rate, options)
