"""How long requests will take: simulated, or from a pilot's rows, and of many only the first."""

from __future__ import annotations

import pytest

from testbed.decoding.sampling import Sampling
from testbed.emulation import durations
from testbed.emulation.durations import OVERHEADS, continued_s, piloted, simulated
from testbed.emulation.inputs import Inputs
from testbed.emulation.nodekind import NodeKind
from testbed.emulation.pilot import FEWEST_TOKENS, length, shortened
from testbed.experiment.resolve import resolve
from testbed.experiment.scenario import Scenario
from testbed.models.fit import Fitness
from testbed.models.load import model_hash
from testbed.results.records import RequestRow
from testbed.simulation.engine import simulate
from testbed.simulation.inputs import from_scenario
from testbed.system.units import NS_PER_MS, NS_PER_S
from testbed.workload.planned import PlannedRequest
from tests.run_examples import SMALL, workload


def inputs(**changes: object) -> Inputs:
    """Of an experiment that is not emulated: its models are not loaded, its prompts are encoded letter by letter."""
    scenario = Scenario.model_validate({**SMALL, **changes})
    hashes = {role: model_hash(name) for role, name in scenario.models.model_dump().items()}
    kind = NodeKind("process", "asked for")
    return Inputs(resolve(scenario), lambda text: [*map(ord, text)], (), hashes, Fitness(), kind, "id")


def one(number: int, due_ms: float | None = None, tokens: int = 11) -> PlannedRequest:
    return PlannedRequest(number, "p", (1,), tokens, Sampling(), (), due_ms)


# --- simulated ---


def test_a_short_run_is_simulated_whole() -> None:
    given = inputs()
    found = simulated(given)
    assert found is not None
    rows = simulate(from_scenario(given.scenario, None, OVERHEADS, lambda text: None)).log.requests
    for label in ("autoregressive", "speculative", "wanspec"):
        last_ns = max(row.finished_ns for row in rows if row.policy == label)
        assert found[label] == pytest.approx(last_ns / NS_PER_S)
    assert found["speculative"] < found["autoregressive"]


def test_of_a_long_run_the_first_requests_say_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(workload=workload(16))
    whole = simulated(given)
    monkeypatch.setattr(durations, "MOST_TOKENS", 3 * 24 * 8)  # half of them
    half = simulated(given)
    assert whole is not None and half is not None and half != whole
    assert {label: seconds / whole[label] for label, seconds in half.items()} == pytest.approx(
        dict.fromkeys(whole, 1.0), abs=0.2
    )


def test_what_no_table_holds_is_not_simulated() -> None:
    assert simulated(inputs(devices={"target": "native", "drafter": "native"})) is None
    known = inputs()
    object.__setattr__(known, "model_hashes", {"target": "0" * 64, "draft": "0" * 64})  # other weights of that name
    assert simulated(known) is None


def test_requests_without_a_due_time_go_on_and_those_with_one_come_when_they_are_due() -> None:
    untimed = [one(number) for number in range(8)]
    assert continued_s(2.0, untimed[:2], untimed) == 8.0
    timed = [one(number, due_ms=1000.0 * number) for number in range(8)]
    assert continued_s(1.5, timed[:2], timed) == 7.5, "half a second after the last is due"
    loop = [one(0, due_ms=500.0), *untimed[1:5]]
    assert continued_s(2.5, loop[:3], loop) == 4.5


# --- from a pilot ---


def row(first_ms: float, last_ms: float, tokens: int, at_once: int = 1) -> RequestRow:
    """Sent at 5 ms; `at_once` tokens in the first chunk."""
    start, first, last = (round(ms * NS_PER_MS) for ms in (5.0, 5 + first_ms, 5 + last_ms))
    chunks = (at_once, tokens - at_once)
    return RequestRow("p", 0, "u", 1, "p", 1, tokens, start, start, first, last, (first, last), chunks, (), None)


def test_a_pilot_is_continued_token_by_token() -> None:
    """20 ms to the first token, 10 for each of ten others: four requests of two users take twice 120 ms."""
    planned = [one(number) for number in range(4)]
    assert piloted([row(20, 60, 5)], planned, ["u0", "u1"]) == pytest.approx(0.24)
    assert piloted([row(20, 40, 5, at_once=3)], planned, ["u0", "u1"]) == pytest.approx(0.24)
    timed = [one(0, due_ms=0.0), one(1, due_ms=1000.0)]
    assert piloted([row(20, 60, 5)], timed, ["u0"]) == pytest.approx(1.12)
    assert piloted([], planned, ["u0"]) is None


# --- its requests ---


def test_a_pilot_asks_what_the_run_asks_at_its_concurrency_but_for_less() -> None:
    place = {"user": {"near": 3}, "target": "near", "drafter": "far"}
    given = inputs(place=place, workload=workload(9, 100))
    short, planned = shortened(given, 1000), given.plan(1000, 0)
    assert [one.request for one in short] == [1000, 1001, 1002]
    assert [one.prompt for one in short] == [one.prompt for one in planned[:3]]
    assert {one.max_tokens for one in short} == {length(given)}
    assert FEWEST_TOKENS <= length(given) < 100


def test_what_comes_at_random_is_open_together_as_often_as_on_the_average() -> None:
    """Ten a second for about a second each."""
    open_loop = {**workload(40, 43), "arrivals": {"poisson": {"rate_per_s": 10}}}
    short = shortened(inputs(workload=open_loop), 1)
    assert 6 <= len(short) <= 16
    assert {one.due_ms for one in short} == {0.0}


def test_a_long_run_has_a_longer_pilot() -> None:
    lengths = [length(inputs(workload=workload(requests, 100))) for requests in (1, 10, 40)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]
