"""The simulated TCP against the kernel's, over the relay: delays of messages under loss, jitter, reordering, rate.

What chance does differs from run to run, so the real mean must lie within the spread that the simulation has over its
seeds. What a busy machine adds is seen on the same messages without harm, first, and taken off.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, median, stdev

import pytest

from testbed.network.relay.fabric import RelayFabric
from testbed.network.spec.fabric import Fabric, Link, Port
from tests.network.relay_lab_helpers import FABRICS, attached_fabric
from tests.simulation.real_tcp import Message, late_share, mean_ms, real_delays_ms, simulated_delays_ms

pytestmark = [pytest.mark.shaped, pytest.mark.alone]  # means of delays, in which every other program shows
SEEDS = range(40)
MACHINE_MS = 2.0  # that a busy machine may add beyond what it added to the messages without harm
ONE_WAY_MS = 20.0


@pytest.fixture(scope="module", params=[one for one in FABRICS if one.values[0] is RelayFabric])
def attached(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Fabric, list[Port]]]:
    with attached_fabric(request.param, "tcp", 2, tmp_path_factory.mktemp("run")) as made:
        yield made


def dense(connections: int = 2, messages: int = 900, every_ms: float = 7.5) -> list[list[Message]]:
    return [[(number * every_ms + index * 0.9, 90) for number in range(messages)] for index in range(connections)]


def lone(connections: int = 30, messages: int = 5) -> list[list[Message]]:
    draw = random.Random(7)
    return [[(number * 1500 + draw.uniform(0, 900), 90) for number in range(messages)] for _ in range(connections)]


def prompts(gap_ms: float, size: int = 24_000, messages: int = 6) -> list[list[Message]]:
    return [[(number * gap_ms, size) for number in range(messages)]]


HARM = {
    "loss 2 %, dense": ({"loss": 0.02}, dense()),
    "loss 6 %, lone": ({"loss": 0.06}, lone()),
    "loss 2 %, every 3 ms": ({"loss": 0.02}, dense(1, 1800, 3.0)),
    "jitter 5 ms, loss 1 %": ({"jitter_ms": 5.0, "loss": 0.01}, dense()),
    "reordering 3 %, loss 1 %": ({"reorder": 0.03, "loss": 0.01}, dense()),
    "prompts, loss 1 %": ({"loss": 0.01}, [plan for _ in range(3) for plan in prompts(700.0, messages=10)]),
}


@pytest.mark.parametrize("name", HARM)
def test_delays_under_harm_are_those_of_the_kernel(attached: tuple[Fabric, list[Port]], name: str) -> None:
    effects, plans = HARM[name]
    shaped(attached)
    unharmed = real_delays_ms(attached[1], [plan[: len(plan) // 3] for plan in plans])
    there, back = shaped(attached, **effects)
    real = real_delays_ms(attached[1], plans)
    machine_ms = mean_ms(unharmed) - mean_ms(simulated_delays_ms(*unharmed_links(), plans, 0))
    simulated = [simulated_delays_ms(there, back, plans, seed) for seed in SEEDS]
    means = [mean_ms(one) for one in simulated]
    print(f"{name}: real {mean_ms(real):.2f}, of it the machine {machine_ms:.2f}, "
          f"simulated {mean(means):.2f} +- {stdev(means):.2f} ms")  # fmt: skip
    assert abs(mean_ms(real) - machine_ms - mean(means)) < MACHINE_MS + 4 * stdev(means)
    limit_ms = ONE_WAY_MS + float(effects.get("jitter_ms", 0.0)) + 12
    shares = [late_share(one, limit_ms) for one in simulated]
    machine = late_share(unharmed, limit_ms)
    print(f"late: real {late_share(real, limit_ms):.4f}, of it the machine {machine:.4f}, "
          f"simulated {mean(shares):.4f} +- {stdev(shares):.4f}")  # fmt: skip
    assert abs(late_share(real, limit_ms) - mean(shares)) < 0.02 + machine + 4 * stdev(shares)


@pytest.mark.parametrize("gap_ms", [150.0, 700.0])
@pytest.mark.parametrize("rate_bps", [None, 10_000_000])
def test_large_prompts_take_the_flights_of_the_kernel(
    attached: tuple[Fabric, list[Port]], gap_ms: float, rate_bps: int | None
) -> None:
    """24 kB at once: two flights at first, then one while the window lasts, and two again after a pause."""
    plans = prompts(gap_ms)
    there, back = shaped(attached, rate_bps=rate_bps)
    (real,), (simulated,) = real_delays_ms(attached[1], plans), simulated_delays_ms(there, back, plans, 0)
    print(f"gap {gap_ms}, rate {rate_bps}: real {[round(one, 1) for one in real]}, simulated {simulated}")
    off = [a - b for a, b in zip(real, simulated, strict=True)]
    # a flight more or less is a round trip; the relay itself takes some 0.4 ms a packet on a busy machine
    assert abs(median(off)) < ONE_WAY_MS / 2 and sum(abs(one) < ONE_WAY_MS for one in off) >= len(off) - 1
    assert (simulated[1] < simulated[0] - 10) is (gap_ms < 240)


def unharmed_links() -> tuple[Link, Link]:
    return Link("n0", "n1", ONE_WAY_MS), Link("n1", "n0", ONE_WAY_MS)


def shaped(attached: tuple[Fabric, list[Port]], **effects: object) -> tuple[Link, Link]:
    fabric, _ = attached
    there = replace(Link("n0", "n1", ONE_WAY_MS), **effects)  # type: ignore[arg-type]
    back = replace(there, src="n1", dst="n0")
    fabric.shape([there, back])
    return there, back
