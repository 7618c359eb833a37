"""What a node program and its model worker say to each other: one job in, one answer out, in order."""

from __future__ import annotations

import msgspec

from testbed.policies.api import Draft, DraftReady, Verify, VerifyReady

HEADER_BYTES = 4


class Job(msgspec.Struct, frozen=True):
    """Exactly one of `draft`, `verify`, `release` is set; `submitted_ns` is when the policy asked (CLOCK_MONOTONIC)."""

    submitted_ns: int
    draft: Draft | None = None
    verify: Verify | None = None
    release: int | None = None


class PassRecord(msgspec.Struct, frozen=True):
    """One forward pass of a job, on the emulated device and in reality."""

    started_ns: int
    finished_ns: int
    paced_ms: float
    real_ms: float
    overrun_ms: float
    position: int
    tokens: int


class Answer(msgspec.Struct, frozen=True):
    """Exactly one of `draft` and `verify` is set, as in the job. A release has no answer."""

    draft: DraftReady | None = None
    verify: VerifyReady | None = None
    passes: tuple[PassRecord, ...] = ()


class WorkerConfig(msgspec.Struct, frozen=True):
    """What a model worker loads: models and device profiles by what they are for, "target" and "draft"."""

    models: dict[str, str]
    devices: dict[str, str]
    threads: int = 1


class WorkerReady(msgspec.Struct, frozen=True):
    """First frame a worker sends: what it loaded, or why it could not."""

    models: dict[str, str] = {}  # role -> sha256
    resident_mb: float = 0.0
    error: str | None = None


def frame(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body
