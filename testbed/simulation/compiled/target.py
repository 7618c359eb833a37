"""What every policy's target does: verify, answer the user, log the round. `policies.session` and `models.replay`.

Rule kept: only a verdict appends to the validated tokens, so these are the recorded output as far as it was validated.
"""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.events import SPARE, send
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import NOBODY, OUTSIDE_TABLE, TARGET, TO_USER, TOKENS, Ints, Record
from testbed.simulation.compiled.running import submit
from testbed.simulation.compiled.sizes import more_for_int, more_for_tokens


@compiled
def open_session(world: Record, user: int, request: int) -> None:
    """A request has arrived at the target."""
    one, context = memory.controllers(world)[user], memory.contexts(world)[TARGET, user]
    one.one, one.validated, one.fed, one.drafted = request, 0, 0, 0
    one.round_start_ns, one.round_index = world.clock.now_ns, 0
    context.true, context.off = NOBODY, 0


@compiled
def depth_of(world: Record, one: Record) -> int:
    """How many drafts are worth verifying."""
    remaining = memory.plan(world)[one.one].max_tokens - one.validated
    return int(min(world.setup.k, remaining - 1))


@compiled
def verify(world: Record, user: int, drafts: Ints, count: int, remote: int) -> None:
    """Submits a pass over the last validated token and `count` drafts, the first one over the prompt as well."""
    one, device = memory.controllers(world)[user], world.devices[TARGET]
    plan = memory.plan(world)[one.one]
    if one.fed:
        # a round emits one token more than it accepts, so all validated tokens but the last are cached
        device.position, device.tokens = plan.prompt_tokens + one.validated - 1, 1 + count
    else:
        device.position, device.tokens = 0, plan.prompt_tokens + count
    one.fed = 1
    accepted = 0
    while accepted < count and one.validated + accepted < plan.length:
        if drafts[accepted] != memory.truth(world)[plan.row + one.validated + accepted]:
            break
        accepted += 1
    if one.validated + accepted == plan.length:  # the output is recorded no further
        world.clock.problem = OUTSIDE_TABLE
        return
    device.draft, device.steps, device.drafts, device.remote, device.accepted = 0, 1, count, remote, accepted
    submit(world, TARGET, TARGET, user, one.one)


@compiled
def verified(world: Record, user: int) -> int:
    """Takes a verdict in: how many tokens of it are output, cut at the length limit and the end of sequence."""
    one, device = memory.controllers(world)[user], world.devices[TARGET]
    plan = memory.plan(world)[one.one]
    emitted = int(min(device.accepted + 1, plan.ends - one.validated))
    log_round(world, one, emitted)
    one.validated += emitted
    return emitted


@compiled
def is_final(world: Record, one: Record) -> bool:
    """The last token validated ends the request."""
    plan = memory.plan(world)[one.one]
    return bool(one.validated >= plan.ends)


@compiled
def answer(world: Record, user: int, emitted: int, final: bool) -> None:
    """Deliver what was just verified to the user."""
    one = memory.controllers(world)[user]
    plan = memory.plan(world)[one.one]
    position = one.validated - emitted
    size_bytes = plan.tokens_bytes + more_for_int(plan.prompt_tokens + position)
    size_bytes += more_for_tokens(memory.truth(world), plan.row + position, emitted)
    send(world, TO_USER + 2 * user, TOKENS, user, one.one, size_bytes, position, emitted, 0, 0, 1 if final else 0)


@compiled
def log_round(world: Record, one: Record, emitted: int) -> None:
    clock, device = world.clock, world.devices[TARGET]
    plan = memory.plan(world)[one.one]
    row = memory.rounds(world)[clock.rounds]
    row.number, row.index = plan.number, one.round_index
    row.position = plan.prompt_tokens + one.validated
    row.drafts, row.remote_drafts = device.drafts, device.remote
    row.accepted, row.emitted = min(device.accepted, emitted), emitted
    row.started_ns, row.verify_submitted_ns = one.round_start_ns, device.submitted_ns
    row.finished_ns = device.finished_ns
    one.round_start_ns, one.round_index = device.finished_ns, one.round_index + 1
    clock.rounds += 1
    if clock.rounds + SPARE > len(memory.rounds(world)):
        clock.crowded = 1
