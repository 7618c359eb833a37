"""The controller's path of drafts beyond the validated tokens: `policies.wanspec.path`, function by function.

Positions count from the start of the output.
"""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import Record

# What became of a worker's token.
NOTHING, CONTRADICTED, GAP = 0, 1, 2


@compiled
def remote_drafts(world: Record, user: int, depth: int) -> int:
    count = 0
    for place in range(depth):
        count += memory.remote(world)[user, place]
    return count


@compiled
def append(world: Record, user: int, token: int, remote: int) -> None:
    one = memory.controllers(world)[user]
    memory.candidates(world)[user, one.length] = token
    memory.remote(world)[user, one.length] = remote
    one.length += 1


@compiled
def add_local(world: Record, user: int, token: int) -> None:
    append(world, user, token, 0)


@compiled
def add_remote(world: Record, user: int, lineage: int, position: int, token: int) -> int:
    """Take a worker's token in. CONTRADICTED when it is the first of its lineage to contradict a validated token."""
    one = memory.controllers(world)[user]
    if lineage != one.lineage:
        one.lineage, one.alive = lineage, 1
        gap = position > one.validated
    elif one.alive:
        gap = position != one.next
    else:
        return NOTHING
    if gap:
        return GAP
    one.next = position + 1
    index = position - one.validated
    if index < 0:
        one.alive = 1 if token == memory.truth(world)[memory.plan(world)[one.one].row + position] else 0
        return NOTHING if one.alive else CONTRADICTED
    if index < one.length and memory.candidates(world)[user, index] == token:
        return NOTHING  # drafted here already
    # Where the two drafters differ the worker's token stays: its continuation will come without a pass here.
    drop_from(one, index)
    append(world, user, token, 1)
    return NOTHING


@compiled
def prune(world: Record, user: int, emitted: int) -> bool:
    """`validated` just grew by `emitted`. True when the worker's stream is now known to contradict it."""
    one, truth = memory.controllers(world)[user], memory.truth(world)
    candidates, remote = memory.candidates(world)[user], memory.remote(world)[user]
    before = one.validated - emitted
    row = memory.plan(world)[one.one].row + before
    agreed = 0
    while agreed < one.length and agreed < emitted and candidates[agreed] == truth[row + agreed]:
        agreed += 1
    if agreed == emitted:
        one.length -= agreed
        for place in range(one.length):
            candidates[place], remote[place] = candidates[place + agreed], remote[place + agreed]
        return False
    streamed = one.next - before  # candidates the worker's lineage has reached
    died = one.alive == 1 and agreed < streamed
    if died:
        one.alive = 0
    drop_from(one, 0)
    return bool(died)


@compiled
def drop_from(one: Record, index: int) -> None:
    if index < one.length:
        one.length = index
        one.generation += 1
