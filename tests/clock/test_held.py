"""The clock's rule, exactly, with real time that the test sets; and in any order of steps that hypothesis draws."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.clock.api import NEVER
from testbed.clock.held import CELLS, HELD, LOOK_NS, QUANTUM_NS, HeldClock, prepare
from tests.clock.interleaved import START_NS, Process, World

MS = 1_000_000


class Alone:
    """An exclusion that is free, unless the test says so."""

    taken = False

    def take(self) -> None:
        assert not self.taken

    def try_take(self) -> bool:
        return not self.taken

    def give_back(self) -> None:
        pass


class Machine:
    """Real time and any number of views on one clock."""

    def __init__(self, dilation: float = 1.0, limit_ns: int = 10_000 * MS) -> None:
        self.cells = [0] * CELLS
        prepare(self.cells, START_NS, dilation, limit_ns)
        self.real_ns = START_NS
        self.exclusion = Alone()
        self.dead: set[int] = set()

    def view(self, slot: int | None = None) -> HeldClock:
        return HeldClock(self.cells, lambda: self.real_ns, self.exclusion, lambda slot: slot not in self.dead, slot)

    def passes(self, ms: float) -> None:
        self.real_ns += round(ms * MS)


def shown(clock: HeldClock) -> float:
    return (clock.now_ns() - START_NS) / MS


@pytest.mark.parametrize(("dilation", "after"), [(1.0, 12.0), (4.0, 3.0), (0.25, 48.0), (1.5, 8.0)])
def test_time_passes_by_the_dilation(dilation: float, after: float) -> None:
    machine = Machine(dilation)
    clock = machine.view()
    machine.passes(12)
    assert shown(clock) == after
    assert clock.wall_ns(round(after * MS)) == 12 * MS


def test_the_clock_stands_at_a_barrier_and_goes_on_from_there_when_it_is_lifted() -> None:
    machine = Machine()
    worker, reader = machine.view(0), machine.view()
    worker.set_barrier(START_NS + 5 * MS)
    machine.passes(4)
    assert shown(reader) == 4
    machine.passes(8)
    assert shown(reader) == shown(worker) == 5
    worker.set_barrier(NEVER)
    assert shown(reader) == 5
    machine.passes(1)
    assert shown(reader) == 6
    assert worker.holds(0) == (7 * MS, 1, 7 * MS, 0)
    assert worker.held_ns() == 7 * MS


def test_a_barrier_lifted_in_time_costs_nothing() -> None:
    machine = Machine()
    worker, reader = machine.view(0), machine.view()
    worker.set_barrier(START_NS + 5 * MS)
    machine.passes(4)
    worker.set_barrier(NEVER)
    machine.passes(4)
    assert shown(reader) == 8
    assert worker.holds(0) == (0, 0, 0, 0)


def test_of_two_late_barriers_the_earlier_one_holds() -> None:
    machine = Machine()
    one, other, reader = machine.view(0), machine.view(1), machine.view()
    one.set_barrier(START_NS + 5 * MS)
    other.set_barrier(START_NS + 7 * MS)
    machine.passes(10)
    assert shown(reader) == 5
    other.set_barrier(NEVER)
    machine.passes(1)
    assert shown(reader) == 5
    one.set_barrier(NEVER)
    assert shown(reader) == 5
    machine.passes(2)
    assert shown(reader) == 7


def test_a_barrier_set_too_late_is_set_at_the_time_that_may_have_been_shown() -> None:
    machine = Machine()
    worker, reader = machine.view(0), machine.view()
    machine.passes(10)
    assert shown(reader) == 10
    assert worker.set_barrier(START_NS + 9 * MS) == START_NS + 10 * MS + QUANTUM_NS
    machine.passes(3)
    assert shown(reader) == pytest.approx(10 + QUANTUM_NS / MS)


def test_who_finds_the_exclusion_taken_sees_the_clock_stand() -> None:
    machine = Machine()
    clock = machine.view()
    machine.passes(1)
    assert shown(clock) == 1
    machine.exclusion.taken = True
    machine.passes(50)
    assert shown(clock) == pytest.approx(1 + QUANTUM_NS / MS)
    machine.exclusion.taken = False
    assert shown(clock) == 51


def test_a_dead_holders_barrier_ends_and_the_clock_goes_on_from_where_it_stood() -> None:
    machine = Machine()
    worker, reader = machine.view(0), machine.view()
    worker.set_barrier(START_NS + 5 * MS)
    machine.passes(8)
    assert shown(reader) == 5
    machine.dead.add(0)
    machine.passes(LOOK_NS / MS)
    assert shown(reader) == 5
    machine.passes(2)
    assert shown(reader) == 7
    assert reader.holds(0).broken == 0


def test_a_living_holder_is_waited_for_up_to_the_limit_and_the_break_is_counted() -> None:
    machine = Machine(limit_ns=100 * MS)
    worker, reader = machine.view(0), machine.view()
    worker.set_barrier(START_NS + 5 * MS)
    machine.passes(104)
    assert shown(reader) == 5
    machine.passes(LOOK_NS / MS)
    shown(reader)
    machine.passes(1)
    assert shown(reader) == 6
    assert reader.holds(0).broken == 1
    worker.set_barrier(START_NS + 20 * MS)  # it has woken up: what was ended is not held against it again
    machine.passes(1)
    assert shown(reader) == 7


def test_a_jump_of_the_machines_clock_ends_at_the_next_barrier() -> None:
    machine = Machine()
    relay, reader = machine.view(0), machine.view()
    relay.set_barrier(START_NS + 5 * MS)
    machine.passes(3)
    assert shown(reader) == 3
    machine.passes(5_000)  # suspended
    assert shown(reader) == 5
    relay.set_barrier(START_NS + 6 * MS)
    machine.passes(0.5)
    assert shown(reader) == 5.5


def test_an_ended_barrier_of_another_is_settled() -> None:
    machine = Machine()
    node, engine = machine.view(0), machine.view()
    node.set_barrier(START_NS + 5 * MS)
    machine.passes(9)
    assert shown(engine) == 5
    engine.lift_barrier(0)
    assert shown(engine) == 5
    machine.passes(1)
    assert shown(engine) == 6
    node.set_barrier(NEVER)
    assert shown(engine) == 6


def test_a_moment_ago_is_shown_as_it_was() -> None:
    machine = Machine()
    worker, reader = machine.view(0), machine.view()
    worker.set_barrier(START_NS + 5 * MS)
    machine.passes(12)
    worker.set_barrier(START_NS + 9 * MS)  # 7 ms late; at 12 the clock goes on from 5
    machine.passes(6)
    moments = {1: 1, 5: 5, 7: 5, 12: 5, 14: 7, 16: 9, 18: 9}
    seen = {at: (reader.at_ns(START_NS + at * MS) - START_NS) / MS for at in moments}
    assert seen == moments
    worker.set_barrier(NEVER)
    assert {at: (reader.at_ns(START_NS + at * MS) - START_NS) / MS for at in moments} == moments


# --- every order of steps ---

PACES = ((0, 10, 1_000, 5_000), (0, 1_000, 20_000, 60_000), (10, 40_000, 300_000, 5_000_000))


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Long ones: hypothesis's own lists are mostly short. Bursts of one process make what is rare less so."""
    chance = Random(draw(st.integers(0, 1 << 32)))
    pace = draw(st.sampled_from(PACES))
    order: list[tuple[int, int]] = []
    while len(order) < 400:
        number = chance.randrange(4)
        order += [(number, chance.choice(pace)) for _ in range(chance.choice((1, 1, 2, 5, 12)))]
    return order


def reads(times: int) -> Callable[[Process], None]:
    def act(process: Process) -> None:
        for _ in range(times):
            process.read()

    return act


def works(passes: int, takes_ns: int) -> Callable[[Process], None]:
    """Barriers what it is about to do, as a device does, and keeps it when it has been given enough turns."""

    def act(process: Process) -> None:
        for _ in range(passes):
            process.set_barrier(process.read() + takes_ns)
            process.read()
        process.set_barrier(NEVER)
        process.read()

    return act


@settings(max_examples=60, deadline=None)
@given(orders(), st.sampled_from([1.0, 2.5]))
def test_readings_never_go_back_and_no_barrier_is_passed(order: list[tuple[int, int]], dilation: float) -> None:
    world = World(dilation)
    for act in (works(3, 200_000), works(2, 20_000), reads(12), reads(12)):
        world.process(act)
    world.run(order)
    world.check()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(orders(), st.integers(1, 120), st.integers(0, 1))
def test_whoever_is_killed_at_whatever_step_the_clock_goes_on(
    order: list[tuple[int, int]], at: int, victim: int
) -> None:
    world = World()
    for act in (works(3, 200_000), works(2, 20_000), reads(12), reads(12)):
        world.process(act)
    killed = [*order[:at]]
    for number, passes_ns in killed:
        world.one_step(world.processes[number], passes_ns)
    world.processes[victim].kill()
    world.real_ns += 2 * LOOK_NS
    last: list[int] = []

    def until_it_moves(process: Process) -> None:
        first = process.read()
        while process.read() < first + 1_000_000:
            pass
        last.append(first)

    world.process(until_it_moves)
    world.run(order[at:])
    world.check()
    assert last


@settings(max_examples=60, deadline=None)
@given(orders(), st.integers(1, 120), st.integers(0, 1))
def test_a_stopped_process_stops_nobody_who_reads(order: list[tuple[int, int]], at: int, victim: int) -> None:
    world = World()
    for act in (works(3, 200_000), works(2, 20_000), reads(12), reads(12)):
        world.process(act)
    for number, passes_ns in order[:at]:
        world.one_step(world.processes[number], passes_ns)
    stopped = world.processes[victim]
    stopped.stopped = True
    for _ in range(400):  # readers end although it may be in the middle of a barrier, or have the exclusion
        for reader in world.processes[2:]:
            world.one_step(reader, 5_000)
    assert not any(reader.lives for reader in world.processes[2:])
    stopped.stopped = False
    world.run(order[at:])
    world.check()


def test_what_is_held_is_the_sum_over_the_slots() -> None:
    world = World()
    for act in (works(3, 200_000), works(2, 20_000)):
        world.process(act)
    world.run([(number, 150_000) for number in range(80)])
    world.check()
    machine = Machine()
    machine.cells = world.plain
    view = machine.view()
    assert sum(view.holds(slot).held_ns for slot in view.slots()) == world.plain[HELD] > 0


def test_the_longest_hold_is_counted_from_when_the_earlier_ones_are_forgotten() -> None:
    machine = Machine()
    holder = machine.view(0)
    for late_ms in (8, 3):
        holder.set_barrier(holder.now_ns() + MS)
        machine.passes(1 + late_ms)
        holder.now_ns()
        holder.set_barrier(NEVER)
        assert holder.holds(0).longest_ns == late_ms * MS
        machine.view().forget_longest()
        assert holder.holds(0).longest_ns == 0
    assert holder.holds(0)[:2] == (11 * MS, 2), "how long and how often is of all"
