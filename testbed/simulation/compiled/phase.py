"""One phase in the compiled world: arrays in, the loop, logs out. Importing this imports the compiler.

Rule kept: what it returns is the object world's, or nothing: at any anomaly there is a reason instead of a log, and the
object world is to run the phase and raise its own error.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from testbed.decoding.output import ended
from testbed.models.devices import DeviceProfile
from testbed.models.tables import DecodeTable
from testbed.nodes.control import PlannedRequest
from testbed.policies import registry
from testbed.scenario import PolicyEntry
from testbed.simulation.compiled import layout, loop
from testbed.simulation.compiled.arrays import World
from testbed.simulation.compiled.layout import Ints, Record, Records
from testbed.simulation.compiled.logs import PhaseColumns, columns_of
from testbed.simulation.compiled.tables import TableArrays, arrays_of
from testbed.simulation.device import PassTimes
from testbed.simulation.links import LinkSpec
from testbed.simulation.world import WorldSpec, framed_size
from testbed.wire.messages import Close, Message, Open, Request, Speculation, Tokens, Validation

RING = 64  # messages under way on a link, to begin with
SMALL_LOG = 256
LONG_LOG = 4_000_000  # rows to begin with, at most


class Anomaly(Exception):
    """The phase is the object world's after all."""


def run_phase(
    spec: WorldSpec, entry: PolicyEntry, repeat: int, planned: Sequence[PlannedRequest], table: DecodeTable
) -> PhaseColumns:
    """Runs a phase that `supports` has let through. Raises Anomaly."""
    world = make_world(spec, entry, planned, table)
    while (status := loop.run(world.fixed)) == layout.CROWDED:
        world = with_more_room(world)
    if status != layout.FINISHED:
        raise Anomaly(layout.PROBLEMS[status])
    return columns_of(world, spec, entry, repeat, planned)


def make_world(spec: WorldSpec, entry: PolicyEntry, planned: Sequence[PlannedRequest], table: DecodeTable) -> World:
    """A world at time 0. Nothing has happened in it."""
    arrays = arrays_of(table)
    names = {
        role: [node for node, (one, _) in spec.nodes.items() if one == role] for role in ("user", "target", "drafter")
    }
    users = len(names["user"])
    fixed = np.zeros(1, layout.WORLD)
    setup = fixed["setup"]
    _set_up(setup[0], spec, entry, names, table.depth)
    plan = _plan(planned, table, arrays)
    longest = int((plan["prompt_tokens"] + plan["max_tokens"]).max()) + table.depth + 1
    target, draft = (_pass_ns(spec.profiles[name], longest) for name in ("target", "draft"))
    limits = [spec.profiles[name].max_pass_tokens for name in ("target", "draft")]
    setup["target_pass"], setup["draft_pass"] = limits
    most_drafts = int(max(setup["k"][0], 1))
    setup["headroom"] = -(-longest // min(limits)) + most_drafts
    links = _links(spec, names)
    fixed["clock"]["left"] = len(planned)
    pending = np.full(layout.ARRIVAL + len(links) + users, layout.FOREVER_NS, layout.PENDING)
    workers, controllers = np.zeros(users, layout.WORKER), np.zeros(users, layout.CONTROLLER)
    workers["one"] = controllers["one"] = layout.NOBODY
    user_records = np.zeros(users, layout.USER)
    user_records["next"] = np.arange(users)
    rows = SMALL_LOG + min(int(plan["max_tokens"].sum()), LONG_LOG)
    places = int(max(setup["max_lookahead"][0], setup["k"][0])) + 2
    arrays_by_name = {
        "plan": plan,
        "truth": arrays.truth,
        "entropies": arrays.entropies,
        "rollouts": arrays.rollouts,
        "pass_ns": np.stack([target, draft]),
        "pending": pending,
        "links": links,
        "rings": np.zeros((len(links), RING), layout.MESSAGE),
        "lines": np.zeros((2, users), np.int64),
        "contexts": np.zeros((2, users), layout.CONTEXT),
        "controllers": controllers,
        "candidates": np.zeros((users, places), np.int64),
        "remote": np.zeros((users, places), np.int64),
        "validated_at": np.zeros((users, int(plan["max_tokens"].max()) + 1)),
        "workers": workers,
        "paths": np.zeros((users, places), np.int64),
        "users": user_records,
        # about as many rows as such phases take; `with_more_room` finds out how many they are
        "steps": np.zeros((2, int(setup["headroom"][0]) + 2 * rows), layout.STEP),
        "rounds": np.zeros(rows, layout.ROUND),
        "messages": np.zeros((3, 2 * rows), layout.MESSAGE_LOG),
        "chunks": np.zeros(rows, layout.CHUNK),
        "requests": np.zeros(len(planned), layout.REQUEST_LOG),
    }
    return World(fixed, arrays_by_name)


def with_more_room(world: World) -> World:
    """The same world with logs and rings of twice the length."""
    world.fixed["clock"]["crowded"] = 0
    old, ends = world.arrays["rings"], world.arrays["links"]
    links, short = old.shape
    rings = np.zeros((links, 2 * short), layout.MESSAGE)
    for link in range(links):
        under_way = np.arange(ends["head"][link], ends["tail"][link])
        rings[link, under_way % (2 * short)] = old[link, under_way % short]
    longer = {name: _doubled(world.arrays[name]) for name in ("steps", "rounds", "messages", "chunks")}
    return World(world.fixed, {**world.arrays, "rings": rings, **longer})


def _doubled(log: Records) -> Records:
    return np.concatenate([log, np.zeros_like(log)], axis=-1)


def _set_up(one: Record, spec: WorldSpec, entry: PolicyEntry, names: dict[str, list[str]], depth: int) -> None:
    params = registry.get(entry.name).parse(entry.params)
    one["users"], one["depth"], one["drain_ns"] = len(names["user"]), depth, spec.drain_ns
    one["job_ns"] = round(spec.overheads.job_ms * layout.NS_PER_MS)
    one["message_ns"] = round(spec.overheads.message_ms * layout.NS_PER_MS)
    one["policy"] = layout.WANSPEC if entry.name == "wanspec" else layout.SPECULATIVE
    one["k"] = 0 if entry.name == "autoregressive" else params.k
    if entry.name == "wanspec":
        one["max_lookahead"] = params.max_lookahead
        one["contradiction"], one["aware"] = params.contradiction, params.rule == "t_draft_aware"
        one["phi_given"], one["phi"] = params.phi is not None, params.phi or 0.0
        one["rtt_ms"] = _measured_ms(spec, names) if params.rtt_ms == "measured" else params.rtt_ms


def _measured_ms(spec: WorldSpec, names: dict[str, list[str]]) -> float:
    """Every sample of a constant link, so also their median: `World._connect`, without bits to send."""
    (target,), (drafter,) = names["target"], names["drafter"]
    rtt_ns = spec.links[target, drafter].delay_ns(0) + spec.links[drafter, target].delay_ns(0)
    return rtt_ns / layout.NS_PER_MS + 2 * spec.overheads.message_ms


def _plan(planned: Sequence[PlannedRequest], table: DecodeTable, arrays: TableArrays) -> Records:
    rows = []
    for one in planned:
        number, prompt = one.request, one.prompt
        fields: tuple[Message, ...] = (
            Request(number, prompt, one.max_tokens, one.sampling, one.eos),
            Open(number, prompt, one.max_tokens, one.sampling),
            Close(number),
            Tokens(number, 0, (), False),
            Speculation(number, 0, 0, 0, 0.0),
            Validation(number, 0, ()),
        )
        sizes = [framed_size(message) for message in fields]
        output = table.prompts[one.prompt_id].tokens
        kept, length = ended(output, one.eos), len(output)
        ends = min(one.max_tokens, len(kept)) if kept and kept[-1] in one.eos else one.max_tokens
        rows.append((number, len(prompt), one.max_tokens, ends, arrays.rows[one.prompt_id], length, *sizes))
    return np.array(rows, layout.PLAN)


def _links(spec: WorldSpec, names: dict[str, list[str]]) -> Records:
    """The drafter's two, then two for each user. A drafter that the policy does not have leaves its two idle."""
    (target,) = names["target"]
    pairs = [(target, drafter) for drafter in names["drafter"][:1]]
    both = [specs for a, b in pairs for specs in (spec.links[a, b], spec.links[b, a])] or [LinkSpec(0.0)] * 2
    for user in names["user"]:
        both += [spec.links[user, target], spec.links[target, user]]
    links = np.zeros(len(both), layout.LINK)
    links["delay_ns"] = [one.delay_ns(0) for one in both]
    links["rate_bps"] = [one.rate_bps or 0 for one in both]
    return links


@lru_cache(maxsize=16)
def _pass_ns(profile: DeviceProfile, longest: int) -> Ints:
    """Nanoseconds by tokens fed, up to the longest feed there can be; what one pass cannot take is never looked up."""
    times = PassTimes(profile)
    held = min(longest, profile.max_pass_tokens)
    return np.array([0, *(times.of(tokens)[0][2] for tokens in range(1, held + 1)), *[0] * (longest - held)], np.int64)
