"""The draft model's cache of one request and what it drafts: `decoding.cacheview` and `models.replay` in one.

Rule kept: a drafter's cache holds `true` tokens of the output, then `off` tokens of the rollout recorded there. What a
role believes to be cached is the same, because both follow from the same feeds, so one context serves for both. The
prompt is not in yet while `true` is NOBODY.
"""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import DRAFTER, NOBODY, OUTSIDE_TABLE, Ints, Record
from testbed.simulation.compiled.running import submit


@compiled
def plan(world: Record, context: Record, row: int, validated: int, path: Ints, length: int) -> int:
    """Where the feed begins so that the cache holds `validated` + `path`; at least one token is fed."""
    if validated > context.true:
        common = context.true  # the first token off the output is not the output's
    else:
        common = validated
        cached = context.true + context.off
        while common < validated + length and common < cached:
            if common < context.true:
                held = memory.truth(world)[row + common]
            else:
                held = memory.rollouts(world)[row + context.true, common - context.true]
            if held != path[common - validated]:
                break
            common += 1
    return int(min(common, validated + length - 1))


@compiled
def crop(context: Record, position: int) -> None:
    off = position - context.true
    if off > 0:
        context.off = off
    else:
        context.true, context.off = position, 0


@compiled
def feed(world: Record, context: Record, one: Record, token: int) -> bool:
    """Follows one token; False if the table does not hold it."""
    if context.off == 0:
        if context.true < one.length and token == memory.truth(world)[one.row + context.true]:
            context.true += 1
            return True
    elif context.off == world.setup.depth:
        return False
    if token != memory.rollouts(world)[one.row + context.true, context.off]:
        return False
    context.off += 1
    return True


@compiled
def draft(
    world: Record, node: int, user: int, request: int, validated: int, path: Ints, length: int, steps: int
) -> None:
    """Submits a job of `steps` drafts after `validated` + `path`. Its tokens are the rollout from (row, off) on."""
    one, context, device = memory.plan(world)[request], memory.contexts(world)[node, user], world.devices[node]
    if context.true == NOBODY:
        device.position, device.tokens = 0, one.prompt_tokens + validated + length
        position = context.true = context.off = 0
    else:
        position = plan(world, context, one.row, validated, path, length)
        if position < 0:  # the last prompt token again, whose state is in no table
            world.clock.problem = OUTSIDE_TABLE
            return
        device.position, device.tokens = one.prompt_tokens + position, validated + length - position
        crop(context, position)
    inside = True
    for at in range(position, validated + length):
        token = memory.truth(world)[one.row + at] if at < validated else path[at - validated]
        inside = inside and feed(world, context, one, token)
    device.row, device.off = one.row + context.true, context.off
    inside = inside and device.off + steps <= world.setup.depth
    for step in range(steps - 1):  # all drafted tokens but the last go through the model as well
        inside = inside and feed(world, context, one, memory.rollouts(world)[device.row, device.off + step])
    if not inside:
        world.clock.problem = OUTSIDE_TABLE
        return
    device.draft, device.steps, device.drafts, device.remote = 1, steps, 0, 0
    submit(world, node, DRAFTER, user, request)
