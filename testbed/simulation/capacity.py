"""How many concurrent users a policy serves within the SLO: client populations in virtual time, searched by bisection.

A *probe* is a closed loop of so many users, each with one request open at any time. Requests that are open while the
fleet is whole are counted: after everyone has begun, and so long before the end that a request sent then is over in
time if it keeps its rate. A request below its SLO rate is a violation. By default that is the rate from sending
to the last token: the rate after the first token alone (`window: after_first`, what the metric `slo_attainment`
judges) is kept by a server that lets users wait for ever and is quick with the few it serves.

A fleet may be of several classes in equal parts: a request is judged by its own user's SLO, and the population is
judged by the class with the largest share of violations, since quick classes have more requests than slow ones.

*Capacity* is the largest number of users whose share of violations is within the bound, as far as bisection can tell:
that more users are never better is assumed, not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from testbed.errors import RunInvalid
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.scenario import Place, Scenario
from testbed.results.records import RequestRow
from testbed.simulation.inputs import SimulationInputs
from testbed.simulation.world import run_phase
from testbed.system.units import NS_PER_S
from testbed.workload.arrivals import ClosedLoop, ClosedLoopArrivals
from testbed.workload.planned import PlannedRequest

FASTEST_PER_S = 50.0  # tokens of one user; decides how many requests are laid out, and is checked
NORMAL_95 = 1.959964  # two-sided 95 % point of the normal distribution


Window = Literal["whole", "after_first"]


@dataclass(frozen=True)
class SearchOptions:
    duration_s: float = 120.0  # in which requests are counted
    stagger_s: float = 10.0  # in which users begin
    bound: float = 0.05  # share of violations; WISP does not state its own
    most_users: int = 512
    precision: float = 0.02  # of the capacity, at least one user
    window: Window = "whole"  # tokens / (end - sent); after_first: (tokens - 1) / (end - first token)


Rates = float | tuple[float, ...]  # promised to all users, or to users in turn


def classes_of(rates: Rates) -> tuple[float, ...]:
    return rates if isinstance(rates, tuple) else (rates,)


def named(rates: Rates) -> float | str:
    """As tables have it: the one rate, or 2+4+8."""
    return "+".join(f"{rate:g}" for rate in rates) if isinstance(rates, tuple) else rates


@dataclass(frozen=True)
class Probe:
    """One fleet. The interval is Wilson's, at 95 %, of the share of violations that it is judged by."""

    users: int
    requests: int
    violations: int
    token_goodput: float  # output tokens of requests that kept their promise, for each second that was counted
    by_class: tuple[tuple[float, int, int], ...] = ()  # where there are several: rate, requests, violations

    @property
    def share(self) -> float:
        n, violations = self._judged
        return violations / n

    @property
    def _judged(self) -> tuple[int, int]:
        """Requests and violations of the class with the largest share of them."""
        counts = [(n, violations) for _, n, violations in self.by_class] or [(self.requests, self.violations)]
        return max(counts, key=lambda each: each[1] / each[0])

    @property
    def interval(self) -> tuple[float, float]:
        n, p, z = self._judged[0], self.share, NORMAL_95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Capacity:
    """`surely` users are inside the bound with the whole interval, `beyond` is outside with the whole interval."""

    policy: str
    rate_per_s: Rates
    users: int
    surely: int
    beyond: int | None  # None: no fleet that was probed is
    at_capacity: Probe | None  # None: not even one user is inside
    probes: tuple[Probe, ...]


def find_capacity(
    inputs: SimulationInputs,
    entry: PolicyEntry,
    rate_per_s: Rates,
    options: SearchOptions = SearchOptions(),
    progress: Callable[[Probe], None] = lambda probe: None,
) -> Capacity:
    """Doubles until a population misses the SLO, then halves the gap."""
    found: dict[int, Probe] = {}

    def inside(users: int) -> bool:
        found[users] = probe(inputs, entry, rate_per_s, users, options)
        progress(found[users])
        return found[users].share <= options.bound

    low = search(inside, options.most_users, options.precision)
    tried = sorted(found.values(), key=lambda one: one.users)
    return Capacity(
        policy=entry.label,
        rate_per_s=rate_per_s,
        users=low,
        surely=max((one.users for one in tried if one.interval[1] <= options.bound), default=0),
        beyond=min((one.users for one in tried if one.interval[0] > options.bound), default=None),
        at_capacity=found.get(low),
        probes=tuple(tried),
    )


def search(inside: Callable[[int], bool], most: int, precision: float) -> int:
    """The largest number up to `most` that is inside, to within `precision` of it or one; 0 if not even one is."""
    low, high = 0, min(16, most)
    while inside(high):
        if high == most:
            return most
        low, high = high, min(2 * high, most)
    while high - low > max(1, math.floor(precision * low)):
        middle = (low + high) // 2
        if inside(middle):
            low = middle
        else:
            high = middle
    return low


def probe(inputs: SimulationInputs, entry: PolicyEntry, rate_per_s: Rates, users: int, options: SearchOptions) -> Probe:
    """One closed loop of users who all have the same SLO, or several round-robin."""
    tokens, rates = inputs.scenario.workload.output_tokens, classes_of(rate_per_s)
    length_s = tokens / min(rates)  # of the longest request that just keeps its promise
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
    counts = {rate: [0, 0] for rate in rates}
    for row in counted:
        rate = promised[row.request]
        counts[rate][0] += 1
        counts[rate][1] += not kept(row, rate, options.window)
    good = len(counted) - sum(violations for _, violations in counts.values())
    goodput = good / len(counted) * _tokens_between(log.requests, begin, end) / options.duration_s
    by_class = tuple((rate, n, violations) for rate, (n, violations) in sorted(counts.items()) if n)
    return Probe(users, len(counted), len(counted) - good, goodput, by_class if len(counts) > 1 else ())


def kept(row: RequestRow, rate_per_s: float, window: Window) -> bool:
    """Whether a request had its rate; the tolerance is for one that had it exactly."""
    if window == "whole":
        tokens, seconds = row.output_tokens, (row.finished_ns - row.sent_ns) / NS_PER_S
    else:
        tokens, seconds = row.output_tokens - 1, (row.finished_ns - row.first_token_ns) / NS_PER_S
    return tokens >= rate_per_s * seconds * (1 - 1e-9)


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


def _tokens_between(rows: Sequence[RequestRow], begin: int, end: int) -> int:
    """Tokens that arrived at their users in this time."""
    return sum(
        tokens for row in rows for at, tokens in zip(row.chunk_ns, row.chunk_tokens, strict=True) if begin <= at < end
    )
