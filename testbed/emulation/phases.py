"""Policies run one after another on the same nodes. One trial: start roles, issue requests, collect the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.emulation.conditions import Conditions
from testbed.emulation.deployment import Deployment, Stalled
from testbed.emulation.rowlogs import RowLog
from testbed.emulation.timeouts import Patience
from testbed.experiment.policyentry import PolicyEntry
from testbed.experiment.progress import Progress
from testbed.network.spec.fabric import Pair
from testbed.nodes.control import AllDone, Issue, PolicyStarted, PolicyStopped, RequestDone, StartPolicy, StopPolicy
from testbed.results.records import RequestRow
from testbed.wire.tcpinfo import TcpState
from testbed.workload.planned import PlannedRequest, by_user

CONTROL_S = 20.0  # of silence while nodes answer,
CONTROL_NODE_S = 0.5  # and for each that must: they all begin at once, so on few cores they all end late


@dataclass
class PhaseResult:
    """Where all nodes' rows are, how many messages came too late to count, and which requests never got an answer."""

    logs: list[RowLog] = field(default_factory=list)
    stale_messages: int = 0
    given_up: tuple[int, ...] = ()
    lookups: tuple[int, int] = (0, 0)  # of recorded answers about trees, and how many of them were approximated
    connections: dict[Pair, TcpState] = field(default_factory=dict)  # as their first node has them


def run_phase(
    deployment: Deployment,
    conditions: Conditions,
    entry: PolicyEntry,
    repeat: int,
    planned: Sequence[PlannedRequest],
    drain_s: float,
    patient: Patience,
    progress: Progress,
) -> PhaseResult:
    """One policy over its requests. Raises NodeFailed, and Stalled when no request ends for too long.

    Where the experiment itself cuts off what a policy may need, requests still open then are given up instead.
    """
    with conditions.phase(entry.label, repeat, deployment) as phase:
        open_requests = {one.request for one in planned}
        progress.phase(entry.label, repeat, len(planned))
        logs = start(deployment, entry, repeat, planned, str(repeat))
        phase.begin()
        issue(deployment, planned)
        try:
            _wait_for_users(deployment, entry, open_requests, patient.limit_s, progress)
        except Stalled:
            if not patient.gives_up:
                raise
            progress.note(
                f"{entry.label}: {len(open_requests)} requests given up, none ended for {patient.limit_s:.0f} s"
            )
        phase.requests_over()
        conditions.sleep(drain_s)  # let messages in flight arrive before the next policy's roles take over
    result = stop(deployment, entry, logs)
    if open_requests:  # some may have ended since
        rows = (row for log in result.logs for row in log)
        open_requests -= {row.request for row in rows if isinstance(row, RequestRow)}
    result.given_up = tuple(sorted(open_requests))
    return result


def start(
    deployment: Deployment, entry: PolicyEntry, repeat: int, planned: Sequence[PlannedRequest], called: str
) -> dict[str, Path]:
    """Every node that the policy needs takes up its role; returns where each of them leaves its rows.

    `called`: what the files of rows are named after, beside node and policy.
    """
    peers = deployment.by_role()
    roles = {name: role for role, names in peers.items() for name in names}
    wanted = set(entry.spec.roles)
    backgrounds = deployment.background(repeat)
    paths = {
        name: deployment.rows_path(name, f"{name}.{entry.label}.{called}.rows")
        for name, role in roles.items()
        if role in wanted
    }
    span = (planned[0].request, planned[-1].request)
    deployment.gather(
        {
            name: StartPolicy(
                entry.label,
                entry.name,
                entry.params,
                roles[name],
                peers,
                repeat,
                span,
                seen,
                entry.files,
                deployment.seed,
                backgrounds.get(name),
                [] if deployment.answers is None else deployment.answers.bound(name, planned),
                deployment.routing(entry),
                deployment.keeping,
            )
            for name, (_, seen) in paths.items()
        },
        PolicyStarted,
        control_s(len(paths)),
        f"{entry.label} to start",
    )
    return {name: path for name, (path, _) in paths.items()}


def control_s(nodes: int) -> float:
    """How long all of so many nodes may be silent before the first, or the next, has done what it was told."""
    return CONTROL_S + CONTROL_NODE_S * nodes


def issue(deployment: Deployment, planned: Sequence[PlannedRequest]) -> None:
    for user, requests in by_user(planned, deployment.by_role()["user"]).items():
        deployment.nodes[user].send(Issue(requests))


def _wait_for_users(
    deployment: Deployment, entry: PolicyEntry, open_requests: set[int], limit_s: float, progress: Progress
) -> None:
    """Until every user has all answers; takes each request out of `open_requests` as it ends."""
    waiting = set(deployment.by_role()["user"])
    while waiting:
        node, reply = deployment.next_reply(limit_s, f"a request of {entry.label}")
        if isinstance(reply, RequestDone):
            open_requests.discard(reply.request)
            progress.request_done(reply.tokens)
        elif isinstance(reply, AllDone):
            waiting.discard(node.name)


def stop(deployment: Deployment, entry: PolicyEntry, paths: dict[str, Path]) -> PhaseResult:
    """Every role ends and hands over its log."""
    stopped = deployment.gather(
        {name: StopPolicy() for name in paths},
        PolicyStopped,
        control_s(len(paths)),
        f"{entry.label} to stop",
    )
    return PhaseResult(
        [RowLog(deployment.keep(path), stopped[name].rows) for name, path in paths.items()],
        sum(reply.stale_messages for reply in stopped.values()),
        connections={(node, peer): state for node, one in stopped.items() for peer, state in one.connections.items()},
        lookups=(
            sum(reply.lookups[0] for reply in stopped.values()),
            sum(reply.lookups[1] for reply in stopped.values()),
        ),
    )
