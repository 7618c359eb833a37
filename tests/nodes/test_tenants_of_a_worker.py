"""A real model's passes on a shared device: computed at once, dated as the other tenants let the device have them."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from testbed.clock.api import WALL
from testbed.clock.waiting import Barriers
from testbed.models.devices import load_profile
from testbed.nodes import worker
from testbed.nodes.jobs import Answer, PassRecord, WorkerConfig
from testbed.nodes.tenants import Tenants
from testbed.nodes.workerclient import WorkerClient, precise_loop
from testbed.policies.api import Draft
from testbed.workload.background import Background, Tenant

pytestmark = pytest.mark.usefixtures("worker_in_this_process")

PROFILE = load_profile("l40s/llama-3.2-1b")
ALWAYS = Tenant("s", 0.0, 1.0, 1.0, 1.0, trace=((0.0, 300, 40), (0.05, 300, 40)))  # more than it can do
OTHERS = Background("draft", (ALWAYS,), 64, 0.5)


async def drafts(ours: socket.socket, theirs: socket.socket) -> tuple[int, list[tuple[int, PassRecord]]]:
    """When the tenants began; when each of four drafts was asked for, and its pass."""
    thread = threading.Thread(target=lambda: worker.main(theirs.detach()))
    thread.start()
    client = WorkerClient(lambda why: None, Barriers(WALL), {"draft": PROFILE})
    found: list[tuple[int, PassRecord]] = []
    try:
        await client.join(ours.detach(), WorkerConfig({"draft": "tiny-draft"}, {"draft": PROFILE.timing}))
        begins_ns = WALL.now_ns()
        client.begin(0, (), Tenants(OTHERS, PROFILE, begins_ns))
        for job in range(4):
            answered = asyncio.Event()

            def take(submitted_ns: int, answer: Answer, answered: asyncio.Event = answered) -> None:
                found.append((submitted_ns, answer.passes[0]))
                answered.set()

            client.submit(Draft(job, job, 0, (1, 2, 3), steps=1), take)
            await asyncio.wait_for(answered.wait(), 30)
    finally:
        await client.close()
        await asyncio.to_thread(thread.join, 30)
    return begins_ns, found


def test_a_worker_s_passes_wait_in_the_shared_queue() -> None:
    ours, theirs = socket.socketpair()
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        begins_ns, found = runner.run(drafts(ours, theirs))
    twin, free_ns = Tenants(OTHERS, PROFILE, begins_ns), 0
    for submitted_ns, one in found:
        assert one.started_ns == twin.start(submitted_ns, free_ns)
        assert one.finished_ns >= one.started_ns + round(one.paced_ms * 1e6)
        free_ns = one.finished_ns
    assert any(one.started_ns > submitted_ns for submitted_ns, one in found), "someone else was first"
    assert twin.passes > 0
