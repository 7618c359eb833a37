"""The target of `policies.speculative`, and of `policies.autoregressive`, which is that with no drafts."""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.drafting import draft
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import NOBODY, TARGET, Record
from testbed.simulation.compiled.running import close_request, open_request
from testbed.simulation.compiled.target import answer, depth_of, is_final, open_session, verified, verify


@compiled
def opened(world: Record, user: int, request: int) -> None:
    open_session(world, user, request)
    open_request(world.devices[TARGET], memory.lines(world)[TARGET], user)


@compiled
def next_job(world: Record, user: int) -> bool:
    """Always something to do: drafts that wait are verified, else drafts are made, if any are worth it."""
    one, drafts = memory.controllers(world)[user], memory.candidates(world)[user]
    depth = depth_of(world, one)
    if one.drafted:
        verify(world, user, drafts, one.drafted, 0)
    elif depth == 0:
        verify(world, user, drafts, 0, 0)
    else:
        draft(world, TARGET, user, one.one, one.validated, drafts, 0, depth)
    return True


@compiled
def drafted(world: Record, user: int) -> None:
    one, device = memory.controllers(world)[user], world.devices[TARGET]
    one.drafted = device.steps
    for step in range(device.steps):
        memory.candidates(world)[user, step] = memory.rollouts(world)[device.row, device.off + step]


@compiled
def judged(world: Record, user: int) -> None:
    one = memory.controllers(world)[user]
    one.drafted = 0
    emitted = verified(world, user)
    final = is_final(world, one)
    answer(world, user, emitted, final)
    if final:
        close_request(world.devices[TARGET], memory.lines(world)[TARGET], user)
        one.one = NOBODY
