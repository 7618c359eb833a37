"""The model worker: its own process, because a compute thread in the node program would delay its messages.

Started as `python -m testbed.nodes.worker FD` with a connected socket and its configuration on it; ends when the socket
closes, and with the node program that started it (`testbed.system.processes`): quietly, for its log is not where to
look.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, assert_never, cast

import msgspec

from testbed.clock.api import WALL, Clock
from testbed.clock.page import reading
from testbed.errors import TestbedError
from testbed.models.compute import Compute, RealPass
from testbed.models.speed import resident_mib
from testbed.models.timing import Timed
from testbed.nodes.batches import Batch, Span, member_records, model_of, pass_ms, passes_of
from testbed.nodes.expected import paced_ms
from testbed.nodes.jobs import Answer, Order, PassRecord, Refused, Release, Submit, WorkerConfig, WorkerReady, frame
from testbed.nodes.pacing import DeviceClock
from testbed.nodes.priority import precede_ordinary_programs
from testbed.policies.api import (
    BatchReady,
    Draft,
    DraftBatch,
    DraftBatchReady,
    DraftReady,
    DraftTree,
    JobDone,
    TreeDraftReady,
    Verify,
    VerifyBatch,
    VerifyReady,
    VerifyTree,
)
from testbed.system.linux import precise_timers
from testbed.wire.framing import Frames

if TYPE_CHECKING:
    from testbed.models.passes import Passes

READ_BYTES = 1 << 16
Ready = TypeVar("Ready", DraftReady, TreeDraftReady, VerifyReady, DraftReady | TreeDraftReady)


class Worker:
    """Takes jobs in order and runs them at once. An answer says when the emulated device would have had it."""

    def __init__(self, compute: Compute, profiles: Mapping[str, Timed]) -> None:
        self._compute = compute
        self._profiles = profiles
        self._clock = DeviceClock()

    def answer(self, order: Submit) -> Answer:
        match order.job:
            case Draft() as job:
                return self.drafted(order, *self._compute.draft(job))
            case DraftTree() as job:
                return self._paced("draft", order, *self._compute.draft_tree(job))
            case Verify() as job:
                return self._paced("target", order, *self._compute.verify(job))
            case VerifyTree() as job:
                return self._paced("target", order, *self._compute.verify_tree(job))
            case VerifyBatch() | DraftBatch() as job:
                return self._answer_batch(order, job)
            case _:
                assert_never(order.job)

    def drafted(self, order: Submit, ready: DraftReady, real: Sequence[RealPass]) -> Answer:
        """The answer to a draft job whose real passes have run, here or together with those of other devices."""
        return self._paced("draft", order, ready, real)

    def release(self, request: int) -> None:
        self._compute.release(request)

    def expected_ms(self, order: Order) -> float:
        """What the emulated device takes for a job; 0 for a release."""
        return 0.0 if isinstance(order, Release) else sum(paced_ms(order.job, self._profiles, order.seed))

    def _answer_batch(self, order: Submit, job: Batch) -> Answer:
        """Each pass is paced once for all members. Real passes are those of the steps, and end with a step's last."""
        real: Sequence[RealPass]
        verdicts, drafted = None, None
        if isinstance(job, VerifyBatch):
            verdicts, one_pass = self._compute.verify_batch(job)
            real = [one_pass]
        else:
            drafted, real = self._compute.draft_batch(job)
        profile = self._profiles[model_of(job)]
        passes = passes_of(job, profile)
        factors = [profile.factor(order.seed, job.job, index) for index in range(len(passes))]
        paced = [pass_ms(job, one, profile) * factor for one, factor in zip(passes, factors, strict=True)]
        last = {one.step: index for index, one in enumerate(passes)}
        spent = [
            (real[one.step].start_ns, real[one.step].end_ns, real[one.step].took_ns)
            if last[one.step] == index
            else (real[one.step].start_ns + index,) * 2 + (0,)
            for index, one in enumerate(passes)
        ]
        timings = self._clock.pace(
            order.submitted_ns, [(start, end) for start, end, _ in spent], paced, [took for _, _, took in spent]
        )
        spans = [
            Span(one.started_ns, one.finished_ns, one.paced_ms, one.real_ms, one.overrun_ms, factor)
            for one, factor in zip(timings, factors, strict=True)
        ]
        duration = (spans[-1].finished_ns - spans[0].started_ns) / 1e6
        ready: JobDone
        if verdicts is not None:
            ready = BatchReady(job.job, tuple(_taking(one, duration) for one in verdicts.members), duration)
        else:
            assert drafted is not None
            ready = DraftBatchReady(job.job, tuple(_taking(one, duration) for one in drafted.members), duration)
        return Answer(ready, member_records(passes, spans, profile))

    def _paced(self, model: str, order: Submit, ready: JobDone, real: Sequence[RealPass]) -> Answer:
        passes = self._pace(model, order, real)
        duration = (passes[-1].finished_ns - passes[0].started_ns) / 1e6
        return Answer(msgspec.structs.replace(ready, duration_ms=duration), passes)

    def _pace(self, model: str, order: Submit, real: Sequence[RealPass]) -> tuple[PassRecord, ...]:
        profile = self._profiles[model]
        paced = [
            profile.duration_ms(one.tokens, one.position) * profile.factor(order.seed, order.job.job, index)
            for index, one in enumerate(real)
        ]
        took = [one.took_ns for one in real]
        timings = self._clock.pace(order.submitted_ns, [(one.start_ns, one.end_ns) for one in real], paced, took)
        return tuple(
            PassRecord(t.started_ns, t.finished_ns, t.paced_ms, t.real_ms, t.overrun_ms, one.position, one.tokens)
            for t, one in zip(timings, real, strict=True)
        )


def _taking(ready: Ready, duration_ms: float) -> Ready:
    return msgspec.structs.replace(ready, duration_ms=duration_ms)


WARM_UP = 64  # tokens of the longest pass before the first request


class LoadedModels:
    """The models and profiles of one configuration: loaded once, however many devices run them.

    `refusals` turns what their GPU refuses into MachineCannot.
    """

    def __init__(self, config: WorkerConfig, clock: Clock = WALL) -> None:
        from testbed.models.placement import described, plain_words, prepare
        from testbed.models.threads import use_blas_threads

        use_blas_threads(config.threads)
        prepare(config.accelerator, config.gpu_memory_fraction)
        self._clock = clock
        self._profiles = config.devices
        self.refusals = partial(plain_words, config.accelerator)
        self.hashes: dict[str, str] = {}
        self._passes: dict[str, Passes] = {}
        with self.refusals():
            for role, name in config.models.items():
                self._load(role, name, config)
        self._described = described(config.accelerator, config.threads)
        self.can_batch = all(one.runtime().can_batch for one in self._passes.values())

    def _load(self, role: str, name: str, config: WorkerConfig) -> None:
        """Mapped, where the engine has its weights as lean passes read them; by transformers everywhere else.

        What the engine could not have them for is said where the paths of passes are.
        """
        from testbed.models import packs
        from testbed.models.lookup import LOOKUP, lookup_sha256
        from testbed.models.passes import LEAN, TRANSFORMERS, Choice, passes_of, passes_of_lookup, passes_of_pack
        from testbed.models.placement import CPU

        if name == LOOKUP:
            self.hashes[role], self._passes[role] = lookup_sha256(), passes_of_lookup(config.fitness.vocabularies)
            return
        fit = config.fitness.of(role)
        if fit.pack and config.accelerator == CPU and config.passes != TRANSFORMERS:
            packed = packs.load(name, Path(fit.pack))
            self.hashes[role], self._passes[role] = packed.contents.weights, passes_of_pack(name, packed, fit)
            return
        from testbed.models.load import load_model

        loaded = load_model(name, device=config.accelerator, threads=config.threads)
        passes = passes_of(loaded.model, cast(Choice, config.passes), fit)
        if passes.path == LEAN and fit.unpacked:
            passes = replace(passes, why=f"loaded by transformers: {fit.unpacked}")
        self.hashes[role], self._passes[role] = loaded.sha256, passes

    def device(self, compute: Compute) -> Worker:
        """A device with its own clock."""
        return Worker(compute, self._profiles)

    def compute(self) -> Compute:
        """The models with their own caches, warmed up so that no request pays for lazy set-up."""
        from testbed.models.feeds import BatchFeed, TreeFeed

        runtimes = {role: one.runtime() for role, one in self._passes.items()}
        with self.refusals():
            for runtime in runtimes.values():
                refused, most = runtime.guard.refused, runtime.guard.room or WARM_UP
                for length in (min(WARM_UP, most), 1, min(4, most), 1):
                    runtime.forward(-1, 0, [0] * length, 1)
                if "tree" not in refused and most > 4:
                    runtime.forward_tree(TreeFeed(-1, 0, [0] * 4, [0, 1], [-1, -1], [0, 1]))
                if "batch" not in refused:
                    for length in (min(16, most), 1, min(4, most), 1):
                        runtime.forward_batch([BatchFeed(request, 0, [0] * length) for request in (-1, -2)])
                for request in (-1, -2):
                    runtime.release(request)
        passes = {role: self._profiles[role].passes for role in runtimes}
        return Compute(runtimes, passes, self._clock.now_ns)

    def ready(self) -> WorkerReady:
        """What to tell a node; memory as it is when called."""
        resident_mb = round(resident_mib(), 1)
        paths = {role: one.described for role, one in self._passes.items()}
        return WorkerReady(self.hashes, resident_mb, self._described, paths)


def main(fd: int) -> int:
    precise_timers()
    precede_ordinary_programs()
    with contextlib.suppress(ConnectionError), socket.socket(fileno=fd) as connection:
        return serve(connection)
    return 0


def serve(connection: socket.socket) -> int:
    """Every job of one node, until it closes its end; ConnectionError when it has gone meanwhile."""
    received = _frames(connection)
    try:
        config = msgspec.msgpack.decode(next(received), type=WorkerConfig)
    except StopIteration:
        return 0
    try:
        models = LoadedModels(config, reading(config.clock))
        worker = models.device(models.compute())
    except TestbedError as error:
        connection.sendall(frame(Refused.because(error)))
        return error.exit_code
    connection.sendall(frame(models.ready()))
    gc.collect()
    gc.freeze()
    gc.disable()  # jobs make no cycles that matter; a collection would stall a pass
    decoder = msgspec.msgpack.Decoder(Order)
    for body in received:
        match decoder.decode(body):
            case Release(request=request):
                worker.release(request)
                gc.collect(0)
            case Submit() as order:
                try:
                    with models.refusals():
                        answer = worker.answer(order)
                except TestbedError as error:
                    connection.sendall(frame(Refused.because(error)))
                    return error.exit_code
                connection.sendall(frame(answer))
            case never:
                assert_never(never)
    return 0


def _frames(connection: socket.socket) -> Iterator[bytes]:
    """Until the node closes its end."""
    frames = Frames()
    while data := connection.recv(READ_BYTES):
        yield from frames.feed(data)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
