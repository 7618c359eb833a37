"""Messages between a node program and its model worker: one job in, one answer out, in order."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from testbed.errors import BadInput, RunInvalid
from testbed.models.fit import Fitness
from testbed.policies.api import (
    BatchReady,
    Draft,
    DraftReady,
    DraftTree,
    TreeDraftReady,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)

HEADER_BYTES = 4


class Job(msgspec.Struct, frozen=True):
    """Exactly one of the jobs and `release` is set; `submitted_ns` is when the policy asked (CLOCK_MONOTONIC).

    `lead_ns`: how much before its due time the answer is to leave the worker.
    """

    submitted_ns: int
    lead_ns: int = 0
    draft: Draft | None = None
    verify: Verify | None = None
    release: int | None = None
    draft_tree: DraftTree | None = None
    verify_tree: VerifyTree | None = None
    verify_batch: VerifyBatch | None = None


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


class Answer(msgspec.Struct, frozen=True):
    """Exactly one of `draft`, `draft_tree`, `verify` and `batch` is set; `verify` answers one request's verifications.

    A batch has one record a member in `passes`, all of the same pass. Or `error` alone says why there is no answer, and
    none will follow.
    """

    draft: DraftReady | None = None
    verify: VerifyReady | None = None
    passes: tuple[PassRecord, ...] = ()
    left_ns: int = 0  # when it left the worker
    draft_tree: TreeDraftReady | None = None
    batch: BatchReady | None = None
    error: str | None = None
    exit_code: int = RunInvalid.exit_code  # of the error


class WorkerConfig(msgspec.Struct, frozen=True):
    """What a model worker loads: models and device profiles by what they are for, "target" and "draft"."""

    models: dict[str, str]
    devices: dict[str, str]
    threads: int = 1
    device: str = "cpu"  # torch's name of what the models run on
    gpu_memory_fraction: float | None = None  # of the GPU, for workers that share one
    passes: str = "auto"  # `testbed.models.passes.Choice`
    fitness: Fitness = Fitness()


class WorkerReady(msgspec.Struct, frozen=True):
    """First frame a worker sends: what it loaded, or why it could not."""

    models: dict[str, str] = {}  # role -> sha256
    resident_mb: float = 0.0
    device: str = ""  # that the models run on, in words
    passes: dict[str, str] = {}  # role -> the path its passes take, and why
    error: str | None = None
    exit_code: int = BadInput.exit_code  # of the error


def frame(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class Frames:
    """Bytes as they come in, whole frames' bodies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            end = HEADER_BYTES + int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            yield body
