"""A node's device and the requests that share it, as `policies.device` and `simulation.device` have them.

Rule kept: one job at a time; a request that was just served goes to the end of the line.
"""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.events import SPARE, at
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import DONE, DRAFTER, FOREVER_NS, Ints, Record


@compiled
def open_request(device: Record, line: Ints, user: int) -> None:
    line[device.in_line] = user
    device.in_line += 1


@compiled
def close_request(device: Record, line: Ints, user: int) -> None:
    """No longer in line; nothing happens if it is not."""
    for place in range(device.in_line):
        if line[place] == user:
            device.in_line -= 1
            for after in range(place, device.in_line):
                line[after] = line[after + 1]
            return


@compiled
def to_the_end(device: Record, line: Ints, place: int) -> None:
    user = line[place]
    for after in range(place, device.in_line - 1):
        line[after] = line[after + 1]
    line[device.in_line - 1] = user


@compiled
def pass_limit(world: Record, model: int) -> int:
    """Tokens that one pass of a model takes at most."""
    return world.setup.draft_pass if model == DRAFTER else world.setup.target_pass  # type: ignore[no-any-return]


@compiled
def feed_ns(world: Record, model: int, tokens: int) -> int:
    """How long a feed takes, cut into passes: full ones first."""
    limit = pass_limit(world, model)
    total_ns = (tokens // limit) * memory.pass_ns(world)[model, min(limit, memory.pass_ns(world).shape[1] - 1)]
    return int(total_ns + memory.pass_ns(world)[model, tokens % limit])


@compiled
def submit(world: Record, node: int, model: int, user: int, request: int) -> None:
    """Starts the job that the device's fields describe; each step after the first feeds the token drafted before it."""
    clock, device = world.clock, world.devices[node]
    device.busy, device.user, device.one = 1, user, request
    device.job = device.jobs
    device.jobs += 1
    device.submitted_ns = clock.now_ns
    device.started_ns = max(clock.now_ns, device.free_ns)
    device.finished_ns = device.started_ns + feed_ns(world, model, device.tokens)
    if device.steps > 1:
        device.finished_ns += (device.steps - 1) * memory.pass_ns(world)[model, 1]
    device.free_ns = device.finished_ns
    at(world, DONE + node, device.finished_ns + world.setup.job_ns)


@compiled
def log_pass(world: Record, node: int, started_ns: int, finished_ns: int, position: int, tokens: int) -> None:
    device = world.devices[node]
    row = memory.steps(world)[node, device.logged]
    row.draft = device.draft
    row.number, row.job = memory.plan(world)[device.one].number, device.job
    row.submitted_ns, row.started_ns, row.finished_ns = device.submitted_ns, started_ns, finished_ns
    row.position, row.tokens = position, tokens
    device.logged += 1


@compiled
def finished(world: Record, node: int) -> None:
    """The device is free again; its job's passes are logged."""
    device = world.devices[node]
    memory.pending(world)[DONE + node].time_ns = FOREVER_NS
    device.busy = 0
    model = DRAFTER if device.draft else 0
    limit = pass_limit(world, model)
    at_ns, position, left = device.started_ns, device.position, device.tokens
    while left > 0:
        size = min(left, limit)
        after_ns = at_ns + memory.pass_ns(world)[model, size]
        log_pass(world, node, at_ns, after_ns, position, size)
        at_ns, position, left = after_ns, position + size, left - size
    for _ in range(device.steps - 1):
        after_ns = at_ns + memory.pass_ns(world)[model, 1]
        log_pass(world, node, at_ns, after_ns, position, 1)
        at_ns, position = after_ns, position + 1
    if device.logged + world.setup.headroom + SPARE > world.steps_columns:
        world.clock.crowded = 1
