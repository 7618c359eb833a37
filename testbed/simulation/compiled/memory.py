"""The arrays of a compiled world, by the address that its record holds.

An array handed to a function costs numba two atomic reference counts, and a world has some twenty: passed about as such
they took 95 % of the loop's time. A record is handed over as one pointer. Rule kept: whoever runs the loop keeps the
arrays alive meanwhile (`phase.World`); nothing here outlives a call of the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from testbed.simulation.compiled import layout
from testbed.simulation.compiled.jit import compiled
from testbed.simulation.compiled.layout import Floats, Ints, Record, Records

INT, FLOAT = np.int64, np.float64
CHUNK = layout.CHUNK
CONTEXT = layout.CONTEXT
CONTROLLER = layout.CONTROLLER
LINK = layout.LINK
MESSAGE = layout.MESSAGE
MESSAGE_LOG = layout.MESSAGE_LOG
PENDING = layout.PENDING
PLAN = layout.PLAN
REQUEST_LOG = layout.REQUEST_LOG
ROUND = layout.ROUND
STEP = layout.STEP
USER = layout.USER
WORKER = layout.WORKER


@intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:
    """An address as a pointer."""

    def cast(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), cast


@compiled
def plan(world: Record) -> Records:
    return carray(pointer(world.plan), (world.plan_rows,), PLAN)  # type: ignore[no-any-return]


@compiled
def truth(world: Record) -> Ints:
    return carray(pointer(world.truth), (world.truth_rows,), INT)  # type: ignore[no-any-return]


@compiled
def entropies(world: Record) -> Floats:
    return carray(pointer(world.entropies), (world.entropies_rows,), FLOAT)  # type: ignore[no-any-return]


@compiled
def rollouts(world: Record) -> Ints:
    return carray(pointer(world.rollouts), (world.rollouts_rows, world.rollouts_columns), INT)  # type: ignore[no-any-return]


@compiled
def pass_ns(world: Record) -> Ints:
    return carray(pointer(world.pass_ns), (world.pass_ns_rows, world.pass_ns_columns), INT)  # type: ignore[no-any-return]


@compiled
def pending(world: Record) -> Records:
    return carray(pointer(world.pending), (world.pending_rows,), PENDING)  # type: ignore[no-any-return]


@compiled
def links(world: Record) -> Records:
    return carray(pointer(world.links), (world.links_rows,), LINK)  # type: ignore[no-any-return]


@compiled
def rings(world: Record) -> Records:
    return carray(pointer(world.rings), (world.rings_rows, world.rings_columns), MESSAGE)  # type: ignore[no-any-return]


@compiled
def lines(world: Record) -> Ints:
    return carray(pointer(world.lines), (world.lines_rows, world.lines_columns), INT)  # type: ignore[no-any-return]


@compiled
def contexts(world: Record) -> Records:
    return carray(pointer(world.contexts), (world.contexts_rows, world.contexts_columns), CONTEXT)  # type: ignore[no-any-return]


@compiled
def controllers(world: Record) -> Records:
    return carray(pointer(world.controllers), (world.controllers_rows,), CONTROLLER)  # type: ignore[no-any-return]


@compiled
def candidates(world: Record) -> Ints:
    return carray(pointer(world.candidates), (world.candidates_rows, world.candidates_columns), INT)  # type: ignore[no-any-return]


@compiled
def remote(world: Record) -> Ints:
    return carray(pointer(world.remote), (world.remote_rows, world.remote_columns), INT)  # type: ignore[no-any-return]


@compiled
def validated_at(world: Record) -> Floats:
    return carray(pointer(world.validated_at), (world.validated_at_rows, world.validated_at_columns), FLOAT)  # type: ignore[no-any-return]


@compiled
def workers(world: Record) -> Records:
    return carray(pointer(world.workers), (world.workers_rows,), WORKER)  # type: ignore[no-any-return]


@compiled
def paths(world: Record) -> Ints:
    return carray(pointer(world.paths), (world.paths_rows, world.paths_columns), INT)  # type: ignore[no-any-return]


@compiled
def users(world: Record) -> Records:
    return carray(pointer(world.users), (world.users_rows,), USER)  # type: ignore[no-any-return]


@compiled
def steps(world: Record) -> Records:
    return carray(pointer(world.steps), (world.steps_rows, world.steps_columns), STEP)  # type: ignore[no-any-return]


@compiled
def rounds(world: Record) -> Records:
    return carray(pointer(world.rounds), (world.rounds_rows,), ROUND)  # type: ignore[no-any-return]


@compiled
def messages(world: Record) -> Records:
    return carray(pointer(world.messages), (world.messages_rows, world.messages_columns), MESSAGE_LOG)  # type: ignore[no-any-return]


@compiled
def chunks(world: Record) -> Records:
    return carray(pointer(world.chunks), (world.chunks_rows,), CHUNK)  # type: ignore[no-any-return]


@compiled
def requests(world: Record) -> Records:
    return carray(pointer(world.requests), (world.requests_rows,), REQUEST_LOG)  # type: ignore[no-any-return]
