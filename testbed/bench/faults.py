"""`python -m testbed.bench faults --count 10000`: every policy in virtual time under random schedules of faults.

A schedule is links that drop, delay, duplicate, reorder, are cut and heal, or carry one way only, and nodes that read
slowly, stop, or are started anew with their state lost (`simulation.faults`). Each is drawn from its number alone, so
`--only NUMBER` runs one again; one that fails is made smaller, fault by fault, and printed.

What must hold of each (invariant 9):

* every request ends with the target's own output, or is given up with a reason, and its user then has a prefix of it;
* it is given up only where something was lost for good: a message without a session to send it again, or a node;
* no role raises, and virtual time ends;
* rounds and output agree (invariant 4).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from testbed.bench import socketfaults
from testbed.decoding.output import ended
from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput, RunInvalid
from testbed.experiment.policyentry import PolicyEntry
from testbed.models.devices import DeviceProfile, load_profile
from testbed.policies import registry
from testbed.simulation.faults import LINK_KINDS, Fault, FaultyWorld, Kind, Schedule
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import WorldSpec
from testbed.system.units import NS_PER_S
from testbed.tables.synthetic import ByOutcome, Exponential, iid_table, made_up_prompts
from testbed.tables.table import DecodeTable
from testbed.workload.planned import PlannedRequest

HANG_S = 60  # of real time for one schedule, which takes milliseconds
PATIENCE_S = 30.0  # virtual, after the last fault or the last request that ended
LAST_MS = 4000.0  # no fault lasts longer; requests take about as long
OUTPUT_TOKENS = 24

# Every policy, with the options that change what it sends or waits for.
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("autoregressive", {}),
    ("speculative", {"k": 3}),
    ("wanspec", {}),
    ("wanspec", {"k": 4, "phi": None, "rule": "t_draft_aware"}),
    ("wanspec", {"silence_ms": 300}),
    ("wanspec", {"branches": 2}),
    ("wanspec", {"branches": 2, "silence_ms": 300, "switch_off": True}),
    ("wanspec", {"rule": "expected_arrival", "mismatch": "learned", "latency_bound": 1.05}),
    ("wanspec", {"rule": "expected_arrival", "branches": 2, "silence_ms": 300}),
    ("sled", {}),
    ("sled", {"timeout_ms": 200}),
    ("sled", {"mode": "as_wisp_describes", "batch": 2, "wait_ms": 5.0}),
    ("wisp", {"stop": "fixed", "max_draft": 4}),
    ("wisp", {"stop": "confidence", "draft_while_waiting": True, "estimator": "online"}),
    ("wisp", {"stop": "svip", "order": "deadline", "send_suspect": False}),
    ("centralised", {}),
    ("centralised", {"mode": "as_reported", "max_batch": 2}),
)


@dataclass(frozen=True)
class Case:
    """One schedule, and what it is run on."""

    number: int
    policy: str
    params: tuple[tuple[str, Any], ...]
    users: int
    workers: int
    one_way_ms: float
    schedule: Schedule

    @property
    def nodes(self) -> dict[str, tuple[str, str]]:
        nodes = {f"user{index}": ("user", "here") for index in range(self.users)}
        nodes |= {"target0": ("target", "here")}
        return nodes | {f"drafter{index}": ("drafter", "there") for index in range(self.workers)}

    @property
    def may_lose(self) -> bool:
        """Whether a request may fail: a node is gone, or a lost message is never sent again."""
        kinds = {fault.kind for fault in self.schedule.faults}
        return bool(kinds & {"restart", "stop"}) or ("drop" in kinds and not self.schedule.sessions)

    @property
    def may_lose_nothing(self) -> bool:
        """WANSpec that does without a silent worker has to end whatever befalls workers and the way to them."""
        if dict(self.params).get("silence_ms") is None:
            return not self.may_lose
        lossy = [one for one in self.schedule.faults if one.kind in ("drop", "restart", "stop")]
        if self.schedule.sessions:
            lossy = [one for one in lossy if one.kind != "drop"]
        return all("drafter" in one.a or "drafter" in one.b for one in lossy)


def draw(number: int) -> Case:
    """The case of this number."""
    chance = random.Random(f"faults/{number}")
    policy, params = VARIANTS[number % len(VARIANTS)]
    users = chance.choice((1, 1, 2, 3))
    workers = chance.choice((1, 1, 2)) if "drafter" in registry.get(policy).roles else 0
    case = Case(
        number,
        policy,
        tuple(params.items()),
        users,
        workers,
        chance.choice((0.0, 2.5, 20.0, 60.0)),
        Schedule((), number, chance.random() < 0.4),
    )
    faults = tuple(_fault(chance, case) for _ in range(chance.choice((1, 1, 2, 2, 3, 5, 8))))
    return replace(case, schedule=replace(case.schedule, faults=faults))


def _fault(chance: random.Random, case: Case) -> Fault:
    nodes = list(case.nodes)
    kinds: tuple[Kind, ...] = (*LINK_KINDS, *LINK_KINDS, "slow", "restart", "stop")
    kind = chance.choice(kinds)
    from_ms = chance.choice((0.0, 1.0)) * chance.random() * LAST_MS / 2
    until_ms = from_ms + chance.choice((20.0, 200.0, LAST_MS / 2)) * chance.random()
    ms = chance.choice((5.0, 50.0, 1500.0))
    if kind in LINK_KINDS:
        pair = ["target0", chance.choice([node for node in nodes if node != "target0"])]
        chance.shuffle(pair)
        share = 1.0 if kind in ("cut", "half_open") else chance.choice((0.1, 0.5, 1.0))
        return Fault(kind, pair[0], pair[1], from_ms, until_ms, share, ms)
    return Fault(kind, chance.choice(nodes), "", from_ms, until_ms, 1.0, min(ms, 50.0))


@cache
def _table(prompts: int) -> DecodeTable:
    entropies = ByOutcome(Exponential(0.3), Exponential(1.5))
    return iid_table(
        made_up_prompts(prompts, 12, 3), OUTPUT_TOKENS, 0.75, entropies, entropies, 3, depth=48, second_match_rate=0.5
    )


@cache
def _profiles() -> dict[str, DeviceProfile]:
    return {"target": load_profile("l40s/llama-3.1-8b"), "draft": load_profile("l40s/llama-3.2-1b")}


def run_case(case: Case) -> tuple[list[str], int, int]:
    """What does not hold of it, and how many requests ended and were given up."""
    table = _table(2 * case.users)
    eos_of = random.Random(case.number)
    planned = [
        PlannedRequest(number, prompt, one.prompt, len(one.tokens), Sampling(), (), None)
        for number, (prompt, one) in enumerate(table.prompts.items(), start=1)
    ]
    if eos_of.random() < 0.3:  # an output that ends early
        end = table.prompts[planned[0].prompt_id].tokens[len(planned) % OUTPUT_TOKENS]
        planned = [PlannedRequest(one.request, one.prompt_id, one.prompt, one.max_tokens, one.sampling, (end,), None)
                   for one in planned]  # fmt: skip
    nodes = case.nodes
    links = {
        (a, b): LinkSpec(case.one_way_ms if nodes[a][1] != nodes[b][1] else 0.5) for a in nodes for b in nodes if a != b
    }
    spec = WorldSpec(
        nodes,
        links,
        _profiles(),
        case.number,
        drain_ns=2 * NS_PER_S,
        patience_ns=round((PATIENCE_S + LAST_MS / 1e3) * NS_PER_S),
    )
    params = registry.get(case.policy).parse(dict(case.params)).model_dump(mode="json")
    entry = PolicyEntry(name=case.policy, label=case.policy, params=params)
    expected = {one.request: _expected(table, one) for one in planned}
    try:
        with _alarm():
            world = FaultyWorld(spec, entry, planned, table, case.schedule)
            log = world.run()
    except Exception as error:  # whatever a role or its host raises is what is looked for
        return [f"{type(error).__name__}: {error}"], 0, len(planned)
    wrong = []
    for row in log.requests:
        if row.tokens != expected[row.request]:
            wrong.append(f"request {row.request}: its output changed")
        if sum(one.emitted for one in log.rounds if one.request == row.request) != row.output_tokens and not any(
            fault.kind == "restart" for fault in case.schedule.faults
        ):
            wrong.append(f"request {row.request}: rounds emitted another number of tokens than its user got")
    for request, tokens in world.handed_out().items():
        if tokens != expected[request][: len(tokens)]:
            wrong.append(f"request {request}: what was handed out of it is not a prefix of its output")
    if len({row.request for row in log.requests}) + len(world.given_up) != len(planned):
        wrong.append("requests that neither ended nor were given up, or ended twice")
    wrong += [f"request {one}: given up without a reason" for one in world.given_up if not world.reasons.get(one)]
    if world.given_up and (not case.may_lose or case.may_lose_nothing):
        wrong.append(f"given up, though nothing was lost for good: {world.reasons[world.given_up[0]]}")
    return wrong, len(log.requests), len(world.given_up)


def _expected(table: DecodeTable, one: PlannedRequest) -> tuple[int, ...]:
    return ended(table.prompts[one.prompt_id].tokens[: one.max_tokens], one.eos)


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Raises where a schedule takes a minute of real time: then it hangs."""

    def ring(*_: object) -> None:
        raise RunInvalid(f"hangs: took more than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def smaller(case: Case) -> Case:
    """The same failure with as few faults as leaving out one after another gets to."""
    index = 0
    while index < len(case.schedule.faults):
        faults = case.schedule.faults[:index] + case.schedule.faults[index + 1 :]
        tried = replace(case, schedule=replace(case.schedule, faults=faults))
        if run_case(tried)[0]:
            case = tried
        else:
            index += 1
    return case


@dataclass
class Outcome:
    number: int
    wrong: list[str]
    ended: int
    given_up: int


def outcome(number: int) -> Outcome:
    return Outcome(number, *run_case(draw(number)))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.bench faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="schedules")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--only", type=int, help="this one alone, and what it is")
    parser.add_argument("--sockets", action="store_true", help="over TCP on loopback, through proxies that fail")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        raise BadInput(f"bench faults: --count {asked.count}: at least 1")
    if asked.sockets:
        return _sockets(range(asked.first, asked.first + asked.count), asked.json)
    numbers = [asked.only] if asked.only is not None else range(asked.first, asked.first + asked.count)
    if asked.only is not None:
        print(draw(asked.only))
    started = time.monotonic()
    found: list[Outcome] = []
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0)) if len(numbers) > 1 else 1) as pool:
        for one in pool.imap_unordered(outcome, numbers, chunksize=8):
            found.append(one)
            if one.wrong and not asked.json:
                print(f"schedule {one.number}: {'; '.join(one.wrong)}", flush=True)
                print(f"  smallest: {smaller(draw(one.number))}", flush=True)
    failed = [one for one in found if one.wrong]
    figures = {
        "schedules": len(found),
        "failed": sorted(one.number for one in failed),
        "outputs_changed": sum("output" in word for one in failed for word in one.wrong),
        "hangs": sum("hangs" in word for one in failed for word in one.wrong),
        "requests_ended": sum(one.ended for one in found),
        "requests_given_up": sum(one.given_up for one in found),
        "by_policy": Counter(VARIANTS[one.number % len(VARIANTS)][0] for one in found),
        "wall_s": round(time.monotonic() - started, 1),
    }
    if asked.json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"{len(found)} schedules in {figures['wall_s']} s: {len(failed)} failed")
        print(f"outputs changed: {figures['outputs_changed']}; hangs: {figures['hangs']}")
        print(f"requests ended as they should: {figures['requests_ended']}")
        print(f"requests given up with a reason: {figures['requests_given_up']}")
    return RunInvalid.exit_code if failed else 0


def _sockets(numbers: Sequence[int], as_json: bool) -> int:
    started = time.monotonic()
    outcomes = socketfaults.run_all([socketfaults.draw(number, VARIANTS) for number in numbers])
    failed = [one for one in outcomes if one.wrong]
    for one in failed:
        print(f"schedule {one.case.number}: {'; '.join(one.wrong)}", file=sys.stderr)
        print(f"  {one.case}", file=sys.stderr)
    figures = {
        "schedules": len(outcomes),
        "failed": [one.case.number for one in failed],
        "outputs_changed": sum("output" in word for one in failed for word in one.wrong),
        "hangs": sum("hangs" in word for one in failed for word in one.wrong),
        "requests_ended": sum(one.ended for one in outcomes),
        "requests_lost": sum(one.lost for one in outcomes),
        "connections_made_again": sum(one.made_again for one in outcomes),
        "reasons": Counter(reason for one in outcomes for reason in one.reasons),
        "wall_s": round(time.monotonic() - started, 1),
    }
    if as_json:
        print(json.dumps(figures, indent=2))
        return RunInvalid.exit_code if failed else 0
    print(f"{len(outcomes)} schedules over sockets in {figures['wall_s']} s: {len(failed)} failed")
    print(f"outputs changed: {figures['outputs_changed']}; hangs: {figures['hangs']}")
    print(f"connections that broke and were made again: {figures['connections_made_again']}")
    print(f"requests ended as they should: {figures['requests_ended']}")
    print(f"requests lost with a node, which was named: {figures['requests_lost']}")
    return RunInvalid.exit_code if failed else 0
