"""The kernel of the compiled world: which event is next, and messages on links: `simulation.kernel` and `.links`.

Rule kept: events run by (time, serial), the serial being given when an event is made, as in the object kernel. A link,
a device or a user has its events in that order anyway, so the next one of all is the least of their firsts.
"""

from __future__ import annotations

from testbed.simulation.compiled import memory
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import ARRIVAL, FOREVER_NS, NS_PER_S, Record, Records

# Ring and log are said to be crowded while there is still room for what one event can add.
SPARE = 8


@compiled
def at(world: Record, source: int, time_ns: int) -> None:
    """An event of a source that has none pending."""
    clock, pending = world.clock, memory.pending(world)[source]
    clock.serial += 1
    pending.time_ns = time_ns
    pending.serial = clock.serial


@compiled
def earliest(pending: Records) -> int:
    """The source of the next event; if there is none, one whose time is FOREVER_NS."""
    best = 0
    for source in range(1, len(pending)):
        one, least = pending[source], pending[best]
        if one.time_ns < least.time_ns or (one.time_ns == least.time_ns and one.serial < least.serial):
            best = source
    return best


@compiled
def arrival_ns(link: Record, now_ns: int, size_bytes: int) -> int:
    """Sends a message now; when it is delivered: rate, then delay, always in order."""
    if link.rate_bps == 0:
        return int(now_ns + link.delay_ns)
    leaves_ns = max(now_ns, link.free_ns) - (-(size_bytes * 8 * NS_PER_S) // link.rate_bps)
    link.free_ns = leaves_ns
    link.last_ns = max(link.last_ns, leaves_ns + link.delay_ns)
    return int(link.last_ns)


@compiled
def send(
    world: Record,
    index: int,
    kind: int,
    user: int,
    one: int,
    size_bytes: int,
    position: int = 0,
    count: int = 0,
    token: int = 0,
    lineage: int = 0,
    final: int = 0,
) -> None:
    """A message of request `one`; tokens are `count` of its output from `position`, or one drafted `token`."""
    clock, link, ring = world.clock, memory.links(world)[index], memory.rings(world)[index]
    clock.serial += 1
    message = ring[link.tail % len(ring)]
    message.time_ns = arrival_ns(link, clock.now_ns, size_bytes) + world.setup.message_ns
    message.serial = clock.serial
    message.kind, message.user, message.one = kind, user, one
    message.sent_ns, message.bytes = clock.now_ns, size_bytes
    message.position, message.count, message.token = position, count, token
    message.lineage, message.final = lineage, final
    if link.tail == link.head:
        memory.pending(world)[ARRIVAL + index].time_ns = message.time_ns
        memory.pending(world)[ARRIVAL + index].serial = message.serial
    link.tail += 1
    if link.tail - link.head + SPARE > len(ring):
        clock.crowded = 1


@compiled
def receive(world: Record, index: int, role: int) -> Record:
    """Takes the first message off a link and logs it; it stays as it is until the event is over."""
    link, ring = memory.links(world)[index], memory.rings(world)[index]
    message = ring[link.head % len(ring)]
    link.head += 1
    pending = memory.pending(world)[ARRIVAL + index]
    if link.head == link.tail:
        pending.time_ns = FOREVER_NS
    else:
        following = ring[link.head % len(ring)]
        pending.time_ns, pending.serial = following.time_ns, following.serial
    row = memory.messages(world)[role, world.received[role]]
    row.kind, row.user, row.number = message.kind, message.user, memory.plan(world)[message.one].number
    row.sent_ns, row.received_ns, row.size_bytes = message.sent_ns, message.time_ns, message.bytes
    row.tokens = message.count
    world.received[role] += 1
    if world.received[role] + SPARE > world.messages_columns:
        world.clock.crowded = 1
    return message
