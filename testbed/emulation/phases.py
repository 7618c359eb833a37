"""Policies take turns on the same nodes: each turn is a phase: start roles, issue requests, collect the log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from testbed.emulation.deployment import Deployment
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

CONTROL_S = 20.0


def run_phase(
    deployment: Deployment,
    entry: PolicyEntry,
    repeat: int,
    planned: Sequence[PlannedRequest],
    log_dir: Path,
    drain_s: float,
    limit_s: float,
    progress: Progress,
) -> tuple[PhaseLog, int]:
    """One policy over its requests; returns what all nodes recorded, and how many messages came too late to count.

    Raises NodeFailed, and RunInvalid when no request ends for `limit_s`.
    """
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
        node, reply = deployment.next_reply(limit_s, f"a request of {entry.label}")
        if isinstance(reply, RequestDone):
            progress.request_done(reply.tokens)
        elif isinstance(reply, AllDone):
            waiting.discard(node.name)
    time.sleep(drain_s)  # let messages in flight arrive before the next policy's roles take over
    paths = {name: log_dir / f"{name}.{entry.label}.{repeat}.rows" for name in active}
    stopped = deployment.gather(
        {name: StopPolicy(str(path)) for name, path in paths.items()},
        PolicyStopped,
        CONTROL_S,
        f"{entry.label} to stop",
    )
    merged = PhaseLog()
    for path in paths.values():
        merged.extend(PhaseLog.read(path))
        path.unlink()
    return merged, sum(reply.stale_messages for reply in stopped.values())
