"""The compiled world's logs as the log's own tables: steps, rounds and messages as columns, requests as structs.

Rule kept: node by node in the order of the world's nodes, and each node's rows in the order in which it wrote them, as
the object world merges its recorders. Columns are views of the loop's own logs: nothing is copied until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from testbed.nodes.control import PlannedRequest
from testbed.results.columns import Coded, Column, Columns, Joined
from testbed.results.records import MessageRow, RequestRow, Round, Step
from testbed.scenario import PolicyEntry
from testbed.simulation.compiled import layout
from testbed.simulation.compiled.arrays import World
from testbed.simulation.compiled.layout import Floats, Records
from testbed.simulation.device import PassTimes
from testbed.simulation.world import WorldSpec

KIND = {"user": layout.USER_NODE, "target": layout.TARGET, "drafter": layout.DRAFTER}


@dataclass(frozen=True)
class PhaseColumns:
    """What `nodes.recorder.PhaseLog` is for the object world."""

    steps: Joined[Step]
    rounds: Joined[Round]
    messages: Joined[MessageRow]
    requests: list[RequestRow]


@dataclass(frozen=True)
class _Node:
    """A node of the phase; `number` counts those of its role."""

    name: str
    role: str
    site: str
    number: int


def columns_of(
    world: World, spec: WorldSpec, entry: PolicyEntry, repeat: int, planned: Sequence[PlannedRequest]
) -> PhaseColumns:
    nodes = _nodes(spec)
    with_device = [node for node in nodes if node.role != "user" and node.number == 0]
    return PhaseColumns(
        steps=Joined([_steps(world, spec, entry.label, repeat, node) for node in with_device]),
        rounds=Joined([_rounds(world, entry.label, repeat, node) for node in nodes if node.role == "target"]),
        messages=Joined([_messages(world, entry.label, repeat, nodes, node) for node in nodes]),
        requests=_requests(world, entry.label, repeat, nodes, planned),
    )


def _nodes(spec: WorldSpec) -> list[_Node]:
    numbers: dict[str, int] = {}
    nodes = []
    for name, (role, site) in spec.nodes.items():
        nodes.append(_Node(name, role, site, numbers.get(role, 0)))
        numbers[role] = numbers.get(role, 0) + 1
    return nodes


def _steps(world: World, spec: WorldSpec, policy: str, repeat: int, node: _Node) -> Columns[Step]:
    log = world.steps(KIND[node.role])
    drafts = log["draft"].astype(np.int8)
    longest = int(log["tokens"].max(initial=1))
    milliseconds = np.stack([_pass_ms(spec, model, longest) for model in ("target", "draft")])
    columns = {
        "policy": policy,
        "repeat": repeat,
        "node": node.name,
        "site": node.site,
        "model": Coded(drafts, ("target", "draft")),
        "request": log["number"],
        "job": log["job"],
        "kind": Coded(drafts, ("verify", "draft")),
        "submitted_ns": log["submitted_ns"],
        "started_ns": log["started_ns"],
        "finished_ns": log["finished_ns"],
        "paced_ms": milliseconds[drafts, log["tokens"]],
        "real_ms": 0.0,
        "overrun_ms": 0.0,
        "position": log["position"],
        "tokens": log["tokens"],
        "batch": 1,
        "alone_ms": 0.0,
    }
    return Columns(Step, columns, len(log))


def _rounds(world: World, policy: str, repeat: int, node: _Node) -> Columns[Round]:
    log = world.logged("rounds")
    of_log = {name: log[name] for name in Round.__struct_fields__ if name in (log.dtype.names or ())}
    columns: dict[str, Column] = {"policy": policy, "repeat": repeat, "node": node.name, "request": log["number"]}
    return Columns(Round, columns | of_log, len(log))


def _messages(world: World, policy: str, repeat: int, nodes: Sequence[_Node], node: _Node) -> Columns[MessageRow]:
    """What one node received. Its role and a message's kind tell the sender."""
    log = _received(world, nodes, node)
    names = {role: [one.name for one in nodes if one.role == role] for role in KIND}
    if node.role == "target":
        senders = (*names["user"], *names["drafter"][:1])
        src: Coded | str = Coded(_sender(log, len(names["user"])), senders)
    else:
        src = names["target"][0]
    columns = {
        "policy": policy,
        "repeat": repeat,
        "request": log["number"],
        "kind": Coded(log["kind"].astype(np.int8), layout.KINDS),
        "src": src,
        "dst": node.name,
        **{name: log[name] for name in ("sent_ns", "received_ns", "size_bytes", "tokens")},
    }
    return Columns(MessageRow, columns, len(log))


def _received(world: World, nodes: Sequence[_Node], node: _Node) -> Records:
    log = world.messages(KIND[node.role])
    if node.role == "user" and sum(one.role == "user" for one in nodes) > 1:
        log = log[log["user"] == node.number]
    return log if node.role == "user" or node.number == 0 else log[:0]


def _sender(log: Records, users: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Who sent each message to the target: the user it is of, or after all users the drafter."""
    return np.where(log["kind"] == layout.REQUEST, log["user"], users).astype(np.int16)


def _requests(
    world: World, policy: str, repeat: int, nodes: Sequence[_Node], planned: Sequence[PlannedRequest]
) -> list[RequestRow]:
    """A request's chunks come in order, but with several users between those of others."""
    users = [node.name for node in nodes if node.role == "user"]
    chunks, log = world.logged("chunks"), world.logged("requests")
    if len(users) > 1:
        chunks = chunks[np.argsort(chunks["one"], kind="stable")]
        log = log[np.argsort(log["user"], kind="stable")]
    ends = np.searchsorted(chunks["one"], np.arange(len(planned)), side="right").tolist()
    chunk_ns, chunk_tokens = chunks["at_ns"].tolist(), chunks["count"].tolist()
    first_rows, truth = world.arrays["plan"]["row"].tolist(), world.arrays["truth"].tolist()
    rows = []
    for index, user, sent_ns, finished_ns in log.tolist():
        one = planned[index]
        chunk = slice(ends[index - 1] if index else 0, ends[index])
        counts, times = tuple(chunk_tokens[chunk]), tuple(chunk_ns[chunk])
        output, row = sum(counts), first_rows[index]
        rows.append(
            RequestRow(
                policy=policy,
                repeat=repeat,
                node=users[user],
                request=one.request,
                prompt_id=one.prompt_id,
                prompt_tokens=len(one.prompt),
                output_tokens=output,
                scheduled_ns=sent_ns,
                sent_ns=sent_ns,
                first_token_ns=times[0],
                finished_ns=finished_ns,
                chunk_ns=times,
                chunk_tokens=counts,
                tokens=tuple(truth[row : row + output]),
                lossless=None,
            )
        )
    return rows


def _pass_ms(spec: WorldSpec, model: str, longest: int) -> Floats:
    """Milliseconds by tokens fed, for as many as any pass here was fed."""
    profile = spec.profiles[model]
    times = PassTimes(profile)
    held = min(longest, profile.max_pass_tokens)
    return np.array([0.0, *(times.of(tokens)[0][1] for tokens in range(1, held + 1)), *[0.0] * (longest - held)])
