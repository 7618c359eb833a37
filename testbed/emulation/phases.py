"""Policies take turns on the same nodes: each turn is a phase: start roles, issue requests, collect the log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from testbed.emulation.deployment import Deployment
from testbed.emulation.nodeprocess import next_reply
from testbed.nodes.control import (
    AllDone,
    Issue,
    PlannedRequest,
    PolicyStarted,
    PolicyStopped,
    RequestDone,
    StartPolicy,
    StopPolicy,
)
from testbed.nodes.recorder import PhaseLog
from testbed.policies import registry
from testbed.progress import Progress
from testbed.scenario import PolicyEntry

STALL_S = 90.0  # no request of the shipped experiments takes a third of this; a stalled run ends with its reason
CONTROL_S = 20.0


def run_phase(
    deployment: Deployment,
    entry: PolicyEntry,
    repeat: int,
    planned: Sequence[PlannedRequest],
    log_dir: Path,
    drain_s: float,
    progress: Progress,
) -> PhaseLog:
    """One policy over its requests; returns what all nodes recorded. Raises NodeDied or RunInvalid."""
    progress.phase(entry.label, repeat, len(planned))
    peers = deployment.by_role()
    roles = {name: role for role, names in peers.items() for name in names}
    wanted = set(registry.get(entry.name).roles)
    active = [name for name, role in roles.items() if role in wanted]
    span = (planned[0].request, planned[-1].request)
    deployment.gather(
        {name: StartPolicy(entry.label, entry.name, entry.params, roles[name], peers, repeat, span) for name in active},
        PolicyStarted,
        CONTROL_S,
        f"{entry.label} to start",
    )
    users = peers["user"]
    for index, user in enumerate(users):
        deployment.nodes[user].send(Issue([one for i, one in enumerate(planned) if i % len(users) == index]))
    waiting = set(users)
    while waiting:
        node, reply = next_reply(deployment.inbox, STALL_S, f"a request of {entry.label}")
        if isinstance(reply, RequestDone):
            progress.request_done(reply.tokens)
        elif isinstance(reply, AllDone):
            waiting.discard(node.name)
    time.sleep(drain_s)  # let messages in flight arrive before the next policy's roles take over
    paths = {name: log_dir / f"{name}.{entry.label}.{repeat}.rows" for name in active}
    deployment.gather(
        {name: StopPolicy(str(path)) for name, path in paths.items()},
        PolicyStopped,
        CONTROL_S,
        f"{entry.label} to stop",
    )
    merged = PhaseLog()
    for path in paths.values():
        merged.extend(PhaseLog.read(path))
        path.unlink()
    return merged
