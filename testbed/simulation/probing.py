"""One fleet in virtual time: so many users in a closed loop, and what each of their requests got.

Requests that are open while the fleet is whole are counted: after everyone has begun, and so long before the end that
a request sent then is over in time if it keeps its rate. A fleet may be of several classes in equal parts; a request
is judged by its own user's SLO, and the fleet by its worst class, since quick classes have more requests than slow
ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from testbed.errors import RunInvalid
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.scenario import Place, Scenario
from testbed.results.records import RequestRow
from testbed.simulation.inputs import SimulationInputs
from testbed.simulation.world import run_phase
from testbed.system.units import NS_PER_S
from testbed.workload.arrivals import ClosedLoop, ClosedLoopArrivals
from testbed.workload.planned import PlannedRequest
from testbed.workload.slo import Window, span

FASTEST_PER_S = 50.0  # tokens of one user; decides how many requests are laid out, and is checked

Rates = float | tuple[float, ...]  # SLO of all users, or of users in turn


@dataclass(frozen=True)
class ProbeOptions:
    duration_s: float = 120.0  # in which requests are counted
    stagger_s: float = 10.0  # in which users begin
    window: Window = "whole"
    seeds: tuple[int, ...] = ()  # fleets of one size; none: the experiment's own seed, its prompts in their order


@dataclass(frozen=True)
class Requests:
    """The counted requests of one fleet, one entry each in every array, in the order of sending."""

    prompt: NDArray[np.intp]  # number of the prompt in its set
    user: NDArray[np.intp]
    rate: NDArray[np.float64]  # of its SLO, tokens/s
    tokens: NDArray[np.float64]  # that count over the window
    seconds: NDArray[np.float64]  # that they took
    emitted: NDArray[np.float64]  # tokens that arrived while requests were counted


def classes_of(rates: Rates) -> tuple[float, ...]:
    return rates if isinstance(rates, tuple) else (rates,)


def named(rates: Rates) -> float | str:
    """As tables have it: the one rate, or 2+4+8."""
    return "+".join(f"{rate:g}" for rate in rates) if isinstance(rates, tuple) else rates


def dealt(inputs: SimulationInputs) -> SimulationInputs:
    """Its prompts in an order of the seed's own, so that seeds differ in who asks what when."""
    held = inputs.experiment.prompts
    order = np.random.default_rng(inputs.scenario.seed).permutation(len(held.prompts))
    shuffled = structs.replace(held, prompts=tuple(held.prompts[at] for at in order))
    return replace(inputs, experiment=replace(inputs.experiment, prompts=shuffled))


def probe(
    inputs: SimulationInputs, entry: PolicyEntry, rate_per_s: Rates, users: int, options: ProbeOptions
) -> Requests:
    """One closed loop of users who all have the same SLO, or several round-robin."""
    tokens, rates = inputs.scenario.workload.output_tokens, classes_of(rate_per_s)
    length_s = tokens / min(rates)  # of the longest request that just meets its SLO
    until_s = options.stagger_s + options.duration_s + length_s
    each = math.ceil(until_s * FASTEST_PER_S / tokens) + 1
    fleet = _fleet(inputs.scenario, entry, rates, users, each, options.stagger_s)
    mine = replace(inputs, experiment=replace(inputs.experiment, scenario=fleet))
    planned = mine.plan(1, 0)
    world = mine.world()
    star = {pair: link for pair, link in world.links.items() if _talk(world.nodes, pair)}
    spec = replace(world, links=star, issue_until_ns=round(until_s * NS_PER_S), detailed=False)
    log = run_phase(spec, entry, 0, planned, mine.table)
    _check_supply(planned, log.requests, users)
    begin, end = round(options.stagger_s * NS_PER_S), round((options.stagger_s + options.duration_s) * NS_PER_S)
    counted = [row for row in log.requests if row.sent_ns < end and row.finished_ns >= begin]
    promised = {one.request: one.slo_tokens_per_s or 0.0 for one in planned}
    places = {one.id: at for at, one in enumerate(inputs.experiment.prompts.prompts)}
    people = {name: at for at, name in enumerate(world.nodes)}

    def column(value: Any, kind: type = float) -> NDArray[Any]:
        return np.array([value(row) for row in counted], dtype=kind)

    output, seconds = span(
        options.window,
        column(lambda row: row.output_tokens),
        column(lambda row: row.sent_ns, np.int64),
        column(lambda row: row.first_token_ns, np.int64),
        column(lambda row: row.finished_ns, np.int64),
    )
    return Requests(
        prompt=column(lambda row: places[row.prompt_id], np.intp),
        user=column(lambda row: people[row.node], np.intp),
        rate=column(lambda row: promised[row.request]),
        tokens=output,
        seconds=seconds,
        emitted=column(lambda row: _tokens_between(row, begin, end)),
    )


def _fleet(
    scenario: Scenario, entry: PolicyEntry, rates: tuple[float, ...], users: int, each: int, stagger_s: float
) -> Scenario:
    """The experiment with so many users; they are spread over its sites as its own are."""
    sites = [site for role, site in scenario.place.nodes().values() if role == "user"]
    place = Place(
        user=[sites[index % len(sites)] for index in range(users)],
        target=scenario.place.target,
        drafter=scenario.place.drafter,
    )
    workload = scenario.workload.model_copy(
        update={
            "requests": users * each,
            "arrivals": ClosedLoopArrivals(closed_loop=ClosedLoop(stagger_s=stagger_s)),
            "slo_tokens_per_s": list(rates) if len(rates) > 1 else rates[0],
        }
    )
    return scenario.model_copy(update={"place": place, "workload": workload, "policies": [entry]})


def _talk(nodes: Mapping[str, tuple[str, str]], pair: tuple[str, str]) -> bool:
    """Connections form a star around the target."""
    return (nodes[pair[0]][0] == "target") != (nodes[pair[1]][0] == "target")


def _check_supply(planned: Sequence[PlannedRequest], rows: Sequence[RequestRow], users: int) -> None:
    issued: dict[str, int] = {}
    for row in rows:
        issued[row.node] = issued.get(row.node, 0) + 1
    if issued and max(issued.values()) >= len(planned) // users:
        raise RunInvalid(
            f"capacity: a user got more than {FASTEST_PER_S:g} tokens/s and ran out of requests, so the load was not "
            "constant; use longer outputs"
        )


def _tokens_between(row: RequestRow, begin: int, end: int) -> int:
    """Tokens that arrived at their user in this time."""
    return sum(tokens for at, tokens in zip(row.chunk_ns, row.chunk_tokens, strict=True) if begin <= at < end)
