"""What a GPU refuses, while models are loaded or in the middle of a run, reaches the node in one line."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import msgspec
import pytest
import torch

from testbed.clock.api import WALL
from testbed.clock.waiting import Barriers
from testbed.errors import MachineCannot
from testbed.models import load, placement
from testbed.models.compute import Compute
from testbed.models.devices import load_profile
from testbed.nodes import worker
from testbed.nodes.jobs import WorkerConfig
from testbed.nodes.sharedworker import SharedWorker
from testbed.nodes.worker import LoadedModels
from testbed.nodes.workerclient import WorkerClient, precise_loop
from testbed.policies.api import Draft

pytestmark = pytest.mark.usefixtures("worker_in_this_process")

CONFIG = WorkerConfig({"draft": "tiny-draft"}, {"draft": load_profile("raspberry-pi-5/qwen3-0.6b-q4").timing})
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8 GiB.\nSee")
SAID = "accelerator cpu: CUDA out of memory"


def refuse(*_: Any, **__: Any) -> Any:
    raise FULL


def own(theirs: socket.socket) -> None:
    worker.main(theirs.detach())


def shared(theirs: socket.socket) -> None:
    SharedWorker([theirs]).serve()


async def asked(theirs: socket.socket, ours: socket.socket, serve: Any) -> list[str]:
    """What a node hears of a worker that is asked for one draft."""
    deaths: list[str] = []
    died = asyncio.Event()

    def on_death(why: Exception) -> None:
        deaths.append(str(why))
        died.set()

    thread = threading.Thread(target=serve, args=(theirs,))
    thread.start()
    client = WorkerClient(on_death, Barriers(WALL), {"draft": load_profile("native")})
    try:
        await client.join(ours.detach(), CONFIG)
        client.submit(Draft(1, 7, 0, (1, 2, 3), steps=1), lambda *_: pytest.fail("it answered"))
        await asyncio.wait_for(died.wait(), 30)
    finally:
        await client.close()
        await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()
    return deaths


def run(serve: Any) -> list[str]:
    ours, theirs = socket.socketpair()
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        return runner.run(asked(theirs, ours, serve))


@pytest.mark.parametrize("serve", [own, shared])
def test_a_gpu_that_is_full_in_the_middle_of_a_run_is_named_by_the_node(
    monkeypatch: pytest.MonkeyPatch, serve: Any
) -> None:
    monkeypatch.setattr(Compute, "draft", refuse)
    (said,) = run(serve)
    assert said.startswith(SAID) and "gpu_memory_fraction" in said and "\n" not in said


@pytest.mark.parametrize("serve", [own, shared])
def test_a_model_that_does_not_fit_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch, serve: Any) -> None:
    monkeypatch.setattr(load, "load_model", refuse)
    with pytest.raises(MachineCannot, match=f"^{SAID}"):
        run(serve)


def test_the_share_of_a_gpus_memory_is_set_before_anything_is_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(placement, "prepare", lambda *given: done.append(given))
    monkeypatch.setattr(load, "load_model", lambda name, device, threads: done.append(device) or refuse())
    with pytest.raises(MachineCannot):
        LoadedModels(msgspec.structs.replace(CONFIG, accelerator="cuda", gpu_memory_fraction=0.4))
    assert done == [("cuda", 0.4), "cuda"]
