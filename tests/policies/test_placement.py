"""Placement: which drafter a request goes to and when it moves on, by any rule and under any schedule of faults.

Invariants: a request that moves loses no token and gets none twice; it never goes back; what a target knows of a
drafter's load came in a message.
"""

from __future__ import annotations

import random
from math import inf
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.policies import api, registry
from testbed.policies.placement.options import REPORTED, RULES, Placement
from testbed.policies.placement.report import DrafterReporting
from testbed.policies.placement.sites import Sites
from testbed.testing import HashModels, Job, Loop
from testbed.wire.messages import Branches, Close, Load, Open, Request, Validation, Watch

PRICES = {"drafter0": 3.0, "drafter1": [1.0] * 12 + [9.0] * 12, "drafter2": 2.0}
KINDS: list[dict[str, Any]] = [{}, {"branches": 2}, {"rule": "expected_arrival"}]


def placed(rule: str, **more: Any) -> dict[str, Any]:
    return {"rule": rule, **({"prices": PRICES} if rule == "cheapest" else {}), **more}


class Shared(Loop):
    """A loop in which drafters' devices are shared: `others` says from when on, and how long theirs make a pass wait.

    `freed`: nodes that neither hear nor speak from then until then (ms). `unruly`: messages come in any order, some
    twice.
    """

    others: dict[str, list[tuple[float, float]]] = {}  # set before the run, once
    frozen: dict[str, tuple[float, float]] = {}
    unruly: random.Random | None = None

    def run_with(self, jobs: list[Job], until_ms: float = 4000.0) -> Any:
        for node in self.others:
            for number in range(1, int(until_ms / api.DEVICE_SAMPLE_INTERVAL_MS)):
                at = number * api.DEVICE_SAMPLE_INTERVAL_MS
                self._at(at, node, api.DeviceSample(0.9, self.wait_ms(node, at) / 0.9))
        return self.run(jobs)

    def wait_ms(self, node: str, now: float) -> float:
        return ([0.0] + [wait for since, wait in self.others.get(node, []) if since <= now])[-1]

    def _at(self, when: float, node: str, event: Any) -> None:
        if isinstance(event, api.DraftReady | api.TreeDraftReady):
            when += self.wait_ms(node, when)
        since, until = self.frozen.get(node, (inf, inf))
        super()._at(until if since <= when < until else when, node, event)

    def _do(self, node: str, command: api.Command, now: float) -> None:
        if self.unruly is None or not isinstance(command, api.Send):
            super()._do(node, command, now)
            return
        self.result.sent.append((node, command.to, command.message))
        if now >= self._cut(node, command.to):
            return
        for _ in range(self.unruly.choice((1, 1, 2, 3))):
            late_ms = self.unruly.choice((0.0, 3.0, 40.0, 300.0)) * self.unruly.random()
            way_ms = self._one_way(node, command.to)
            self._at(now + way_ms + late_ms, command.to, api.MessageReceived(node, command.message))


def jobs(count: int, gap_ms: float = 300.0, tokens: int = 40) -> list[Job]:
    return [Job(number, (7, number, 3)[: 1 + number % 3], tokens, (), at_ms=gap_ms * number) for number in range(count)]


def loop_of(params: dict[str, Any], drafters: int = 3, **more: Any) -> Shared:
    spec = registry.get("wanspec")
    return Shared(spec, spec.parse({"k": 3, **params}), HashModels(5), drafters=drafters, **more)


def lossless(loop: Shared, work: list[Job]) -> None:
    """Every output is the target's own, every cache is freed, and no request goes back to a site that it left."""
    for job in work:
        assert isinstance(loop.models, HashModels)
        assert tuple(loop.result.outputs[job.request]) == loop.models.reference(job), job
    for request, sites in opened(loop).items():
        assert len(set(sites)) == len(sites), f"request {request} went back"


def opened(loop: Shared) -> dict[int, list[str]]:
    """Request to the drafters that it was at, in this order."""
    found: dict[int, list[str]] = {}
    for _, to, message in loop.result.sent:
        if type(message) is Open:
            found.setdefault(message.request, []).append(to)
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("params", KINDS, ids=["path", "tree", "expected"])
def test_wanspec_is_lossless_under_every_rule(params: dict[str, Any], rule: str) -> None:
    work = jobs(6, gap_ms=90.0)
    loop = loop_of({**params, "placement": placed(rule, move=True)}, rtt_ms=20.0)
    loop.others = {"drafter1": [(0.0, 20.0), (600.0, 0.0)], "drafter2": [(500.0, 30.0)]}
    loop.run_with(work)
    lossless(loop, work)
    assert loop.result.open_caches == 0
    spoke = {type(message) for _, _, message in loop.result.sent}
    assert (Load in spoke) == (Watch in spoke) == (rule in REPORTED)


SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_schedule_of_faults_costs_a_token(seed: int) -> None:
    """Drafters stop for good, freeze and come back, are cut off, become busy and idle, at any time; messages come late,
    in any order and more than once. All outputs are whole, so long as the target and its users live."""
    chance = random.Random(seed)
    names = [f"drafter{number}" for number in range(3)]
    rule = chance.choice(RULES)
    params = {
        **chance.choice(KINDS),
        "silence_ms": chance.choice((40.0, 150.0)),
        "placement": placed(rule, move=True, stay_ms=chance.choice((0.0, 80.0)), margin=chance.choice((1.0, 1.5))),
    }
    ways = {("target0", name): chance.choice((4.0, 15.0, 60.0)) for name in names}
    fates = {name: chance.choice(("stops", "freezes", "is cut off", "lives")) for name in names}
    at = {name: chance.uniform(0.0, 1200.0) for name in names}
    loop = loop_of(
        params,
        users=2,
        ways_ms=ways,
        stopped={name: at[name] for name in names if fates[name] == "stops"},
        cuts={("target0", name): at[name] for name in names if fates[name] == "is cut off"},
    )
    loop.frozen = {
        name: (at[name], at[name] + chance.uniform(50.0, 900.0)) for name in names if fates[name] == "freezes"
    }
    loop.others = {
        name: [(chance.uniform(0.0, 900.0), chance.choice((0.0, 5.0, 40.0))) for _ in range(3)] for name in names
    }
    loop.unruly = random.Random(seed) if chance.random() < 0.5 else None
    work = jobs(6, gap_ms=chance.choice((60.0, 250.0)))
    loop.run_with(work)
    lossless(loop, work)


def test_a_request_whose_drafter_stops_goes_on_at_another_from_the_tokens_that_are_there() -> None:
    work = jobs(1, tokens=80)
    loop = loop_of({"silence_ms": 100.0, "placement": placed("nearest", move=True)}, rtt_ms=10.0)
    loop.stopped = {"drafter0": 400.0}
    loop.run_with(work)
    lossless(loop, work)
    assert opened(loop) == {0: ["drafter0", "drafter1"]}
    first, second = [message for _, _, message in loop.result.sent if type(message) is Open]
    text = (*work[0].prompt, *loop.result.outputs[0])
    assert len(second.prompt) > len(first.prompt) and second.prompt == text[: len(second.prompt)]
    assert len(second.prompt) + second.max_tokens == len(first.prompt) + first.max_tokens
    late = [one for one in loop.result.passes if one.kind == "verify" and one.started_ms > 700.0]
    assert sum(one.remote_drafts for one in late) > 0, "the other one drafts for it"
    assert ("target0", "drafter0", Close(0)) in loop.result.sent


def test_a_request_leaves_a_site_that_becomes_busy_and_stays_at_one_that_does_not() -> None:
    work = jobs(1, tokens=120)
    ways = {("target0", "drafter0"): 6.0, ("target0", "drafter1"): 16.0, ("target0", "drafter2"): 60.0}
    busy = loop_of({"placement": placed("load_aware", move=True)}, ways_ms=ways)
    busy.others = {"drafter0": [(500.0, 40.0)]}
    busy.run_with(work)
    lossless(busy, work)
    assert opened(busy) == {0: ["drafter0", "drafter1"]}
    quiet = loop_of({"placement": placed("load_aware", move=True)}, ways_ms=ways)
    quiet.run_with(work)
    assert opened(quiet) == {0: ["drafter0"]}
    still = loop_of({"placement": "load_aware"}, ways_ms=ways)
    still.others = {"drafter0": [(500.0, 40.0)]}
    still.run_with(work)
    assert opened(still) == {0: ["drafter0"]}, "without `move` it stays"
    assert busy.result.latency_ms() <= still.result.latency_ms()


def test_what_a_drafter_that_was_left_still_says_is_dropped() -> None:
    """It is cut off one way only: what it streams still arrives, of a text that has moved on without it."""
    work = jobs(1, tokens=80)
    loop = loop_of({"silence_ms": 60.0, "placement": placed("nearest", move=True)}, drafters=2, rtt_ms=10.0)
    loop.frozen = {"drafter0": (300.0, 700.0)}
    loop.run_with(work)
    lossless(loop, work)
    heard = [sender for sender, _, message in loop.result.received if type(message) is Branches]
    moved = heard.index("drafter1")
    assert "drafter0" in heard[moved:]


def request(number: int, seed: int = 11) -> Request:
    return Request(number, (1, 2), 10, Sampling(0.0, 0, 1.0, seed))


def sites(rule: str, *rtts_ms: float, **more: Any) -> Sites:
    names = [f"drafter{number}" for number in range(len(rtts_ms))]
    made = Sites(Placement.model_validate(placed(rule, **more)), names, lambda: 7.5)
    made.begin(0.0)
    for name, rtt_ms in zip(names, rtts_ms, strict=True):
        made.sample(name, rtt_ms, 0.0)
    return made


THREE = ["drafter0", "drafter1", "drafter2"]


def test_nearest_takes_the_least_round_trip_and_static_takes_turns() -> None:
    assert sites("nearest", 30.0, 10.0, 20.0).choose(request(1), THREE, 0.0) == "drafter1"
    made = sites("static", 30.0, 10.0, 20.0)
    assert [made.choose(request(number), THREE, 0.0) for number in range(4)] == [*THREE, "drafter0"]
    assert made.choose(request(0), ["drafter1", "drafter2"], 0.0) == "drafter1"


def test_nearest_idle_passes_by_who_is_busy() -> None:
    made = sites("nearest_idle", 5.0, 20.0, 40.0)
    made.reported("drafter0", Load(1, 1, 50, 8000, 1), 0.0)
    made.reported("drafter1", Load(1, 0, 0, 0, 1, 12_000), 0.0)
    assert made.choose(request(2), THREE, 0.0) == "drafter2"
    made.reported("drafter2", Load(1, 2, 90, 7500, 1), 0.0)  # none is idle: 5 + 2 * 8, 20 + 19.5, 40 + 22.5
    assert made.choose(request(2), THREE, 0.0) == "drafter0"


def test_load_aware_weighs_distance_its_deviation_and_a_step_under_load() -> None:
    made = sites("load_aware", 10.0, 22.0, 21.0)
    made.reported("drafter0", Load(1, 0, 0, 0, 1, 15_000), 0.0)
    for rtt_ms in (15.0, 27.0):
        made.sample("drafter2", rtt_ms, 0.0)
    assert made.cost_ms("drafter0", 1) == pytest.approx(10 + 7.5 + 15)
    assert made.cost_ms("drafter1", 1) == pytest.approx(22 + 7.5)
    assert made.cost_ms("drafter2", 1) == pytest.approx(21 + 4 + 7.5)
    assert made.choose(request(1), THREE, 0.0) == "drafter1"


def test_a_request_does_not_count_itself() -> None:
    made = sites("load_aware", 10.0, 22.0)
    made.given("drafter0", 1, 10, 0.0)
    assert made.cost_ms("drafter0", 1) == pytest.approx(17.5)
    assert made.cost_ms("drafter0", 2) == pytest.approx(25.0)
    made.reported("drafter0", Load(1, 1, 10, 7500, 1), 100.0)
    assert made.cost_ms("drafter0", 1) == pytest.approx(17.5)


def test_a_request_that_was_taken_away_counts_no_more_though_the_report_is_older() -> None:
    made = sites("load_aware", 10.0)
    made.given("drafter0", 1, 10, 0.0)
    made.reported("drafter0", Load(1, 1, 10, 7500, 1), 100.0)
    assert made.cost_ms("drafter0", 2) == pytest.approx(25.0)
    made.left("drafter0", 1, 300.0)
    assert made.cost_ms("drafter0", 2) == pytest.approx(17.5)
    made.reported("drafter0", Load(1, 1, 10, 7500, 2), 305.0)  # made at 300: the Close came there at 305
    assert made.cost_ms("drafter0", 2) == pytest.approx(17.5)
    made.reported("drafter0", Load(1, 1, 10, 7500, 3), 320.0)  # another target's
    assert made.cost_ms("drafter0", 2) == pytest.approx(25.0)


def test_cheapest_goes_by_the_hour() -> None:
    made = sites("cheapest", 5.0, 90.0, 40.0, hour=11.5)
    hour_ms = 3_600_000.0
    picks = [made.choose(request(1), THREE, at * hour_ms) for at in (0.0, 0.6, 12.0, 12.6)]
    assert picks == ["drafter1", "drafter2", "drafter2", "drafter1"]


def test_prices_name_every_drafter_and_no_other() -> None:
    with pytest.raises(
        BadInput, match=r"prices name drafter0, drafter1, drafter2; the drafters are drafter0, drafter1"
    ):
        Sites(Placement.model_validate(placed("cheapest")), ["drafter0", "drafter1"], lambda: None)
    for wrong in ({"rule": "cheapest"}, {"rule": "nearest", "prices": PRICES}):
        with pytest.raises(ValidationError, match="prices belong to rule: cheapest"):
            Placement.model_validate(wrong)


def test_chance_reaches_every_site_and_is_the_same_again() -> None:
    made = sites("random", 1.0, 1.0, 1.0)
    picks = [made.choose(request(number), THREE, 0.0) for number in range(300)]
    assert picks == [made.choose(request(number), THREE, 0.0) for number in range(300)]
    assert all(abs(picks.count(one) - 100) < 4 * (300 * 2 / 9) ** 0.5 for one in THREE)


def test_a_request_stays_for_a_while_and_moves_for_a_margin_only() -> None:
    made = sites("load_aware", 10.0, 22.0, move=True, stay_ms=500.0, margin=1.5)
    made.given("drafter0", 1, 10, 0.0)
    asked = request(1)
    made.reported("drafter0", Load(1, 1, 10, 15_000, 1), 100.0)  # 25 against 29.5
    assert made.better(asked, "drafter0", 0.0, ["drafter1"], 600.0) is None
    made.reported("drafter0", Load(1, 1, 10, 30_000, 2), 100.0)  # 40: less than 1.5 times
    assert made.better(asked, "drafter0", 0.0, ["drafter1"], 600.0) is None
    made.reported("drafter0", Load(1, 1, 10, 40_000, 3), 100.0)
    assert made.better(asked, "drafter0", 200.0, ["drafter1"], 600.0) is None
    assert made.better(asked, "drafter0", 0.0, ["drafter1"], 600.0) == "drafter1"
    assert made.better(asked, "drafter0", 0.0, [], 600.0) is None


def test_an_older_report_changes_nothing() -> None:
    made = sites("load_aware", 10.0)
    for number, wait_us in ((2, 9_000), (1, 50_000), (2, 70_000)):
        made.reported("drafter0", Load(1, 0, 0, 0, number, wait_us), 0.0)
    assert made.cost_ms("drafter0", 1) == pytest.approx(26.5)


class Silent:
    def handle(self, event: api.Event, now: float) -> list[api.Command]:
        return []


def test_a_drafter_reports_to_those_that_asked_when_its_load_changes_and_not_too_often() -> None:
    drafter = DrafterReporting(Silent(), report_ms=100.0)

    def told(message: Any, now: float, sender: str = "target0") -> list[api.Command]:
        return drafter.handle(api.MessageReceived(sender, message), now)

    open_1 = Open(4, (1, 2), 20, Sampling())
    assert told(open_1, 0.0) == [], "nobody asked"
    assert told(Watch(4), 10.0) == [api.Send("target0", Load(4, 1, 20, 0, 1))]
    assert told(Watch(4), 11.0) == [], "once is enough"
    assert told(Validation(4, 2, (5, 6)), 20.0) == [api.Send("target0", Load(4, 1, 18, 0, 2))]
    (timer,) = drafter.handle(api.DeviceSample(0.5, 8.0), 30.0)
    assert isinstance(timer, api.SetTimer) and timer.at == 120.0
    assert told(Close(4), 40.0) == []
    assert drafter.handle(api.TimerFired(timer.name), 120.0) == [api.Send("target0", Load(4, 0, 0, 0, 3, 4000))]
    assert told(Watch(9), 130.0, "target1") == [api.Send("target1", Load(9, 0, 0, 0, 4, 4000))]
