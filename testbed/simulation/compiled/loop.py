"""The compiled world's loop: takes the next event and hands it to its node, until the phase is over or a log is full.

Nodes in the order of `simulation.host`: take the event in, then ask for the next job if the device is free.
"""

from __future__ import annotations

from collections.abc import Callable

from testbed.simulation.compiled import controller, events, memory, running, speculative, worker
from testbed.simulation.compiled.jit import cached, compiled, sources
from testbed.simulation.compiled.layout import (
    ARRIVAL,
    AT_REST,
    CLOSE,
    CROWDED,
    DONE,
    DRAFTER,
    FINISHED,
    FOREVER_NS,
    FROM_USER,
    LAST_EXACT_NS,
    OPEN,
    REQUEST,
    STOP,
    TARGET,
    TO_DRAFTER,
    TO_TARGET,
    TOO_LATE,
    USER_NODE,
    WANSPEC,
    Record,
    Records,
)

# --- users ---


@compiled
def issue(world: Record, user: int) -> None:
    """The user's next request, if there is one; a user has every request of the plan that falls to it in turn."""
    one = memory.users(world)[user]
    if one.next >= len(memory.plan(world)):
        return
    request, one.next = one.next, one.next + world.setup.users
    one.sent_ns = world.clock.now_ns
    plan = memory.plan(world)[request]
    events.send(world, FROM_USER + 2 * user, REQUEST, user, request, plan.request_bytes, 0, plan.prompt_tokens, 0, 0, 0)


@compiled
def answered(world: Record, index: int) -> None:
    """A user receives tokens."""
    clock, message = world.clock, events.receive(world, index, USER_NODE)
    row = memory.chunks(world)[clock.chunks]
    row.one, row.at_ns, row.count = message.one, clock.now_ns, message.count
    clock.chunks += 1
    if clock.chunks + events.SPARE > len(memory.chunks(world)):
        clock.crowded = 1
    if message.final:
        row = memory.requests(world)[clock.requests]  # there is a row for every request of the plan
        row.one, row.user = message.one, message.user
        row.sent_ns, row.finished_ns = memory.users(world)[message.user].sent_ns, clock.now_ns
        clock.requests += 1
        clock.left -= 1
        if clock.left:
            events.at(world, ARRIVAL + len(memory.links(world)) + message.user, clock.now_ns)
        else:
            events.at(world, STOP, clock.now_ns + world.setup.drain_ns)


# --- nodes ---


@compiled
def start_target(world: Record) -> None:
    """The first request in line that has something to do gets the device."""
    device, line = world.devices[TARGET], memory.lines(world)[TARGET]
    if device.busy:
        return
    for place in range(device.in_line):
        if world.setup.policy == WANSPEC:
            started = controller.next_job(world, line[place])
        else:
            started = speculative.next_job(world, line[place])
        if started:
            running.to_the_end(device, line, place)
            return


@compiled
def start_drafter(world: Record) -> None:
    device, line = world.devices[DRAFTER], memory.lines(world)[DRAFTER]
    if device.busy:
        return
    for place in range(device.in_line):
        if worker.next_job(world, line[place]):
            running.to_the_end(device, line, place)
            return


@compiled
def target_done(world: Record) -> None:
    device = world.devices[TARGET]
    running.finished(world, TARGET)
    if world.setup.policy == WANSPEC:
        if device.draft:
            controller.drafted(world, device.user)
        else:
            controller.judged(world, device.user)
    elif device.draft:
        speculative.drafted(world, device.user)
    else:
        speculative.judged(world, device.user)
    start_target(world)


@compiled
def drafter_done(world: Record) -> None:
    running.finished(world, DRAFTER)
    worker.drafted(world, world.devices[DRAFTER].user)
    start_drafter(world)


@compiled
def arrived(world: Record, index: int) -> None:
    """A message, at the node where the link ends."""
    if index == TO_DRAFTER:
        message = events.receive(world, index, DRAFTER)
        if message.kind == OPEN:
            worker.opened(world, message.user, message.one)
        elif message.kind == CLOSE:
            worker.closed(world, message.user)
        else:
            worker.validate(world, message.user, message)
        start_drafter(world)
    elif index == TO_TARGET:
        message = events.receive(world, index, TARGET)
        controller.hear(world, message.user, message)
        start_target(world)
    elif (index - FROM_USER) % 2 == 0:
        message = events.receive(world, index, TARGET)
        if world.setup.policy == WANSPEC:
            controller.opened(world, message.user, message.one)
        else:
            speculative.opened(world, message.user, message.one)
        start_target(world)
    else:
        answered(world, index)


# --- the loop ---


@compiled
def one_event(world: Record, source: int) -> None:
    pending = memory.pending(world)[source]
    world.clock.now_ns = pending.time_ns
    if source == DONE + TARGET:
        target_done(world)
    elif source == DONE + DRAFTER:
        drafter_done(world)
    elif source < ARRIVAL + len(memory.links(world)):
        arrived(world, source - ARRIVAL)
    else:
        pending.time_ns = FOREVER_NS
        issue(world, source - ARRIVAL - len(memory.links(world)))


def loop(of_sources: int) -> Callable[[Records], int]:
    """The loop as a closure over the digest of its sources: numba's cache is keyed by what a function closes over."""

    @cached
    def run(worlds: Records) -> int:
        """Goes on from wherever the world stands. CROWDED: with longer logs and rings it can be called again."""
        world = worlds[0]
        clock = world.clock
        clock.sources = of_sources
        if clock.serial == 0:
            for user in range(world.setup.users):
                issue(world, user)
        while True:
            if clock.problem:
                return int(clock.problem)
            if clock.crowded:
                return CROWDED
            source = events.earliest(memory.pending(world))
            if memory.pending(world)[source].time_ns == FOREVER_NS:
                return AT_REST
            if memory.pending(world)[source].time_ns > LAST_EXACT_NS:
                return TOO_LATE
            clock.events += 1
            if source == STOP:
                return FINISHED
            one_event(world, source)

    return run


run = loop(sources())
