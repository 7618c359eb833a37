"""Messages between a node program and its model worker: one job in, one answer out, in order.

Both directions are closed unions; every message says its kind, and who reads them must take them all.
"""

from __future__ import annotations

import msgspec

from testbed.errors import TestbedError
from testbed.models.fit import Fitness
from testbed.models.timing import Timing
from testbed.policies.api import KIND, DeviceJob, JobDone
from testbed.wire.framing import framed


class WorkerConfig(msgspec.Struct, frozen=True):
    """First frame a worker gets: models and the times of their devices by what they are for, "target" and "draft"."""

    models: dict[str, str]
    devices: dict[str, Timing]
    threads: int = 1
    accelerator: str = "cpu"  # torch's name of what the models run on
    gpu_memory_fraction: float | None = None  # of the GPU, for workers that share one
    passes: str = "auto"  # `testbed.models.passes.Choice`
    fitness: Fitness = Fitness()
    clock: str | None = None  # the run's (`testbed.clock.page`); None: the machine's


# --- node to worker ---


class Submit(msgspec.Struct, frozen=True, tag_field=KIND, tag="submit"):
    """Run this job after those before it; `submitted_ns` is when the policy asked.

    `seed`: of the device's draws in this trial (`testbed.decoding.rng.device_seed`).
    """

    job: DeviceJob
    submitted_ns: int
    seed: int = 0


class Release(msgspec.Struct, frozen=True, tag_field=KIND, tag="release"):
    """Forget a request's caches, after the jobs before it. Not answered."""

    request: int
    submitted_ns: int


Order = Submit | Release

# --- worker to node ---


class PassRecord(msgspec.Struct, frozen=True, gc=False):
    """One forward pass of a job, on the emulated device and in reality."""

    started_ns: int
    finished_ns: int
    paced_ms: float
    real_ms: float
    overrun_ms: float
    position: int
    tokens: int
    alone_ms: float = 0.0  # of a batch's member: what the profile says for its own pass
    member: int = 0  # of a batch, whose pass it is one of
    batch: int = 1  # members in that pass


class WorkerReady(msgspec.Struct, frozen=True, tag_field=KIND, tag="ready"):
    """First frame of a worker: what it loaded."""

    models: dict[str, str] = {}  # role -> sha256
    resident_mb: float = 0.0
    accelerator: str = ""  # that the models run on, in words
    passes: dict[str, str] = {}  # role -> the path its passes take, and why


class Answer(msgspec.Struct, frozen=True, tag_field=KIND, tag="answer"):
    """A job is done. `passes` are its passes; each of a batch has one record per member that is in it."""

    ready: JobDone
    passes: tuple[PassRecord, ...]


class Refused(msgspec.Struct, frozen=True, tag_field=KIND, tag="refused"):
    """Why the models could not be loaded, or a job not be done. Nothing follows."""

    error: str
    exit_code: int

    @classmethod
    def because(cls, error: TestbedError) -> Refused:
        return cls(str(error), error.exit_code)


Reply = WorkerReady | Answer | Refused


def frame(message: msgspec.Struct) -> bytes:
    return framed(msgspec.msgpack.encode(message))
