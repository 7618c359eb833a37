"""WANSpec's worker: `policies.wanspec.worker`, function by function. Drafts freely and streams each token at once."""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.drafting import draft
from testbed.simulation.compiled.events import send
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import (
    DRAFTER,
    NOBODY,
    OUT_OF_ORDER,
    SPECULATION,
    TO_TARGET,
    Record,
)
from testbed.simulation.compiled.running import close_request, open_request
from testbed.simulation.compiled.sizes import more_for_int


@compiled
def opened(world: Record, user: int, request: int) -> None:
    one, context = memory.workers(world)[user], memory.contexts(world)[DRAFTER, user]
    one.one, one.validated, one.length, one.lineage = request, 0, 0, 0
    context.true, context.off = NOBODY, 0
    open_request(world.devices[DRAFTER], memory.lines(world)[DRAFTER], user)


@compiled
def validate(world: Record, user: int, message: Record) -> None:
    one, path = memory.workers(world)[user], memory.paths(world)[user]
    if one.one != message.one or message.position != one.validated:
        world.clock.problem = OUT_OF_ORDER
        return
    row, count = memory.plan(world)[one.one].row + message.position, message.count
    agreed = 0
    while agreed < one.length and agreed < count and path[agreed] == memory.truth(world)[row + agreed]:
        agreed += 1
    one.validated += count
    if agreed == count:
        one.length -= count
        for place in range(one.length):
            path[place] = path[place + count]
    else:
        one.length = 0
        one.lineage += 1


@compiled
def closed(world: Record, user: int) -> None:
    memory.workers(world)[user].one = NOBODY
    close_request(world.devices[DRAFTER], memory.lines(world)[DRAFTER], user)


@compiled
def next_job(world: Record, user: int) -> bool:
    one = memory.workers(world)[user]
    # The last token is never worth drafting: a target pass emits one more token than it verifies.
    end = memory.plan(world)[one.one].max_tokens - 1
    if one.length >= world.setup.max_lookahead or one.validated + one.length >= end:
        return False
    one.drafting = one.lineage
    draft(world, DRAFTER, user, one.one, one.validated, memory.paths(world)[user], one.length, 1)
    return True


@compiled
def drafted(world: Record, user: int) -> None:
    one, device = memory.workers(world)[user], world.devices[DRAFTER]
    if one.one != device.one or one.drafting != one.lineage:
        return
    plan = memory.plan(world)[one.one]
    position, token = one.validated + one.length, memory.rollouts(world)[device.row, device.off]
    memory.paths(world)[user, one.length] = token
    one.length += 1
    size_bytes = plan.speculation_bytes + more_for_int(one.lineage) + more_for_int(plan.prompt_tokens + position)
    size_bytes += more_for_int(token)
    send(world, TO_TARGET, SPECULATION, user, one.one, size_bytes, position, 1, token, one.lineage)
