"""Does a policy's draft and verify jobs with real models, and says how long each pass took: no sockets, no pacing.

The rules of acceptance are not here but in `testbed.decoding`; this module feeds the models and hands them the logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from testbed.decoding.verify import draft_choice, verify
from testbed.policies.api import Draft, DraftReady, SparseRow, Verify, VerifyReady

Logits = np.ndarray[Any, np.dtype[np.float32]]
Clock = Callable[[], int]

# Every request carries a seed of its own, the same under each policy; its serial number differs from phase to phase and
# so must not key a draw.
STREAM = 0


class Runtime(Protocol):
    """A causal model with one cache a request: `testbed.models.runtime.CausalRuntime` for real ones."""

    def forward(self, request: int, position: int, tokens: Sequence[int], last: int = 1) -> Any: ...

    def release(self, request: int) -> None: ...


@dataclass(frozen=True)
class RealPass:
    """One real forward pass: when it ran (CLOCK_MONOTONIC) and what it was fed."""

    start_ns: int
    end_ns: int
    position: int
    tokens: int


class Compute:
    """Runs jobs on up to two models, "target" and "draft". `passes` cuts a long feed as the device would."""

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        passes: Mapping[str, Callable[[int], list[int]]],
        clock: Clock = time.monotonic_ns,
    ) -> None:
        self._runtimes = runtimes
        self._passes = passes
        self._clock = clock

    def draft(self, job: Draft) -> tuple[DraftReady, list[RealPass]]:
        """`steps` tokens; the first pass catches up on every token fed. `duration_ms` is 0 until the pacer fills it."""
        real: list[RealPass] = []
        drafted: list[int] = []
        entropies: list[float] = []
        confidences: list[float] = []
        rows: list[SparseRow] = []
        position, feed = job.position, list(job.tokens)
        for _ in range(job.steps):
            logits = self._forward("draft", job.request, position, feed, 1, real)[0]
            position += len(feed)
            choice = draft_choice(logits, job.sampled, job.top_q, job.sampling, STREAM, position)
            drafted.append(choice.token)
            entropies.append(choice.entropy)
            confidences.append(choice.confidence)
            if choice.row is not None:
                rows.append(choice.row)
            feed = [choice.token]
        ready = DraftReady(
            job.job,
            job.request,
            tuple(drafted),
            tuple(entropies),
            tuple(confidences),
            duration_ms=0.0,
            rows=tuple(rows),
        )
        return ready, real

    def verify(self, job: Verify) -> tuple[VerifyReady, list[RealPass]]:
        """One target pass over all tokens fed (more if the device cuts it), then the verdict on the drafts."""
        real: list[RealPass] = []
        logits = self._forward("target", job.request, job.position, list(job.tokens), job.drafts + 1, real)
        drafts = job.tokens[len(job.tokens) - job.drafts :]
        first = job.position + len(job.tokens) - job.drafts
        verdict = verify(logits, drafts, job.sampling, STREAM, first, job.rows)
        ready = VerifyReady(job.job, job.request, verdict.accepted, verdict.tokens, verdict.entropies, duration_ms=0.0)
        return ready, real

    def release(self, request: int) -> None:
        for runtime in self._runtimes.values():
            runtime.release(request)

    def _forward(
        self, model: str, request: int, position: int, feed: list[int], last: int, real: list[RealPass]
    ) -> Logits:
        """Feeds in device-sized passes; returns [last, vocab] logits."""
        collected: list[Logits] = []
        wanted = last
        chunks = []
        at = 0
        for size in self._passes[model](len(feed)):
            chunks.append((position + at, feed[at : at + size]))
            at += size
        remaining = len(feed)
        for start, chunk in chunks:
            remaining -= len(chunk)
            keep = max(1, min(len(chunk), wanted - remaining))
            begin = self._clock()
            logits = np.asarray(self._runtimes[model].forward(request, start, chunk, keep))
            real.append(RealPass(begin, self._clock(), start, len(chunk)))
            if wanted > remaining:
                collected.append(logits)
        return np.concatenate(collected)[-last:]
