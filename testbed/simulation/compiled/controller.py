"""WANSpec's controller: `policies.wanspec.controller`, function by function.

After every event, when the device is free, per request: enough drafts on the path: verify; else the worker is taken
to be stale: draft here; else wait.
"""

from __future__ import annotations

from testbed.simulation.compiled import memory, path
from testbed.simulation.compiled.drafting import draft
from testbed.simulation.compiled.events import send
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import (
    CLOSE,
    NOBODY,
    NS_PER_MS,
    OPEN,
    OUT_OF_ORDER,
    TARGET,
    TO_DRAFTER,
    VALIDATION,
    Record,
)
from testbed.simulation.compiled.running import close_request, open_request
from testbed.simulation.compiled.sizes import more_for_int, more_for_tokens
from testbed.simulation.compiled.target import answer, depth_of, is_final, open_session, verified, verify

MOVING_AVERAGE_WEIGHT = 0.2


@compiled
def next_job(world: Record, user: int) -> bool:
    one, candidates = memory.controllers(world)[user], memory.candidates(world)[user]
    depth = depth_of(world, one)
    if one.length >= depth:
        one.verifying = depth
        verify(world, user, candidates, depth, path.remote_drafts(world, user, depth))
        return True
    if worth_drafting(world, one):
        one.drafting_generation, one.drafting_length = one.generation, one.validated + one.length
        draft(world, TARGET, user, one.one, one.validated, candidates, one.length, 1)
        return True
    return False


@compiled
def worth_drafting(world: Record, one: Record) -> bool:
    """Is the worker's next usable token too far away?"""
    setup = world.setup
    away_ms = one.t_update + setup.rtt_ms - world.clock.now_ns / NS_PER_MS
    if setup.aware == 0:
        return bool(away_ms > 0.0)
    t_draft = world.t_draft
    return bool(away_ms > (t_draft.value if t_draft.known else 0.0))


@compiled
def opened(world: Record, user: int, request: int) -> None:
    one, plan = memory.controllers(world)[user], memory.plan(world)[request]
    open_session(world, user, request)
    one.length, one.generation, one.lineage, one.alive, one.next = 0, 0, -1, 0, 0
    one.t_update = world.clock.now_ns / NS_PER_MS  # the worker cannot have streamed before it heard of the request
    open_request(world.devices[TARGET], memory.lines(world)[TARGET], user)
    send(world, TO_DRAFTER, OPEN, user, request, plan.open_bytes, 0, plan.prompt_tokens)


@compiled
def hear(world: Record, user: int, message: Record) -> None:
    one = memory.controllers(world)[user]
    if one.one != message.one:
        return  # the request is closed: what still arrives for it is late, not wrong
    became = path.add_remote(world, user, message.lineage, message.position, message.token)
    if became == path.GAP:
        world.clock.problem = OUT_OF_ORDER
    elif became == path.CONTRADICTED and world.setup.contradiction:
        # Whatever the worker drafts until it hears of this token is useless: one round trip after it was sent.
        one.t_update = max(one.t_update, memory.validated_at(world)[user, message.position])


@compiled
def drafted(world: Record, user: int) -> None:
    one, device, t_draft = memory.controllers(world)[user], world.devices[TARGET], world.t_draft
    duration_ms = (device.finished_ns - device.started_ns) / NS_PER_MS
    if t_draft.known:
        t_draft.value = t_draft.value + MOVING_AVERAGE_WEIGHT * (duration_ms - t_draft.value)
    else:
        t_draft.known, t_draft.value = 1, duration_ms
    # Of no use when the context was dropped meanwhile, or when the worker's token got here first.
    if one.drafting_generation == one.generation and one.drafting_length == one.validated + one.length:
        path.add_local(world, user, memory.rollouts(world)[device.row, device.off])


@compiled
def judged(world: Record, user: int) -> None:
    """A verdict is there: pass it on to the user and the worker."""
    one, device, clock, setup = memory.controllers(world)[user], world.devices[TARGET], world.clock, world.setup
    request, before = one.one, one.validated
    plan = memory.plan(world)[request]
    entropy = memory.entropies(world)[plan.row + before + device.accepted]
    emitted = verified(world, user)
    final = is_final(world, one)
    answer(world, user, emitted, final)
    if final:
        close_request(device, memory.lines(world)[TARGET], user)
        one.one = NOBODY
        send(world, TO_DRAFTER, CLOSE, user, request, plan.close_bytes)
        return
    now_ms = clock.now_ns / NS_PER_MS
    for position in range(before, one.validated):
        memory.validated_at(world)[user, position] = now_ms
    contradicted = path.prune(world, user, emitted)
    stale = device.accepted < one.verifying or setup.phi_given == 0 or entropy > setup.phi
    if stale or (contradicted and setup.contradiction):
        one.t_update = now_ms
    size_bytes = plan.validation_bytes + more_for_int(plan.prompt_tokens + before)
    size_bytes += more_for_tokens(memory.truth(world), plan.row + before, emitted)
    send(world, TO_DRAFTER, VALIDATION, user, request, size_bytes, before, emitted)
