"""A model worker for the devices of many nodes: weights in memory once, with a queue and a clock per device.

Started as `python -m testbed.nodes.sharedworker FD...` with one connected socket a node; ends when the last is closed,
so it cannot outlive the nodes, and with the engine. A node speaks to it as to its own worker, but an answer leaves
as soon as it is computed and is held by the node until it is due (`testbed.nodes.workerclient`): holding one here would
delay others.

Jobs are computed earliest due first, and single-token drafts that wait together in one real pass, which is what lets
one core serve dozens of devices. Rule kept: what is computed does not depend on who else is served, up to the
arithmetic's rounding, and how long it takes on the emulated device not at all.
"""

from __future__ import annotations

import gc
import selectors
import socket
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from typing import assert_never

import msgspec
from msgspec.structs import replace

from testbed.clock.api import WALL, Clock
from testbed.clock.page import reading
from testbed.errors import TestbedError
from testbed.models.compute import Compute
from testbed.nodes.duequeue import Due, DueQueue
from testbed.nodes.jobs import Answer, Order, Refused, Release, Submit, WorkerConfig, frame
from testbed.nodes.priority import precede_ordinary_programs
from testbed.nodes.worker import READ_BYTES, LoadedModels, Worker
from testbed.policies.api import Draft, DraftBatch, DraftBatchReady, DraftReady, DraftTree, TreeDraftReady
from testbed.system.linux import precise_timers
from testbed.wire.framing import Frames

MOST_TOGETHER = 16  # a pass of the shipped draft model over 16 takes three times that over one, over 32 five times


class Served:
    """One node: its connection, its device, and what its requests are called among those of all nodes.

    Several nodes may draft for one request, each with its own caches.
    """

    def __init__(self, name: str, connection: socket.socket) -> None:
        self.name = name
        self.connection = connection
        self.frames = Frames()
        self.models: LoadedModels | None = None  # None until it has said what to load
        self.device: Worker
        self.compute: Compute
        self._keys: dict[int, int] = {}  # by the node's number for a request
        self._requests: dict[int, int] = {}  # the other way round

    def inward(self, order: Order, new_keys: Iterator[int]) -> Order:
        """The order with a key of this worker's in place of the node's number, which a release makes free again."""
        match order:
            case Submit(job=Draft() | DraftTree() as job):
                return replace(order, job=self._keyed(job, new_keys))
            case Submit(job=DraftBatch() as job):
                members = tuple(self._keyed(one, new_keys) for one in job.members)
                return replace(order, job=replace(job, members=members))
            case Submit():
                raise ValueError("shared workers run drafters only; a target has its own worker")
            case Release(request=request):
                key = self._key(request, new_keys)
                del self._keys[request]
                return replace(order, request=key)
            case _:
                assert_never(order)

    def _keyed(self, job: Draft | DraftTree, new_keys: Iterator[int]) -> Draft | DraftTree:
        prefix_of = None if job.prefix_of is None else self._key(job.prefix_of, new_keys)
        return replace(job, request=self._key(job.request, new_keys), prefix_of=prefix_of)

    def outward(self, answer: Answer) -> Answer:
        """The answer under the node's own number."""
        ready = answer.ready
        if isinstance(ready, DraftBatchReady):
            members = tuple(replace(one, request=self._requests[one.request]) for one in ready.members)
            return replace(answer, ready=replace(ready, members=members))
        assert isinstance(ready, DraftReady | TreeDraftReady)  # to what `inward` let in
        return replace(answer, ready=replace(ready, request=self._requests[ready.request]))

    def _key(self, request: int, new_keys: Iterator[int]) -> int:
        if request not in self._keys:
            self._keys[request] = key = next(new_keys)
            self._requests[key] = request
        return self._keys[request]

    def release(self, key: int) -> None:
        self.device.release(key)
        del self._requests[key]

    def release_all(self) -> None:
        for key in list(self._requests):
            self.release(key)


class SharedWorker:
    """Hears all nodes between any two passes, and computes the job that is due first, with those that can join it."""

    def __init__(self, connections: Sequence[socket.socket]) -> None:
        self._selector = selectors.DefaultSelector()
        self._served: dict[str, Served] = {}
        self._queue: DueQueue[Order] = DueQueue()
        self._loaded: dict[bytes, tuple[LoadedModels, Compute] | TestbedError] = {}  # by configuration
        self._decode = msgspec.msgpack.Decoder(Order).decode
        self._keys = count()
        self._clock: Clock = WALL
        for number, connection in enumerate(connections):
            one = self._served[str(number)] = Served(str(number), connection)
            self._selector.register(connection, selectors.EVENT_READ, one)

    def serve(self) -> None:
        """Returns when no node is left."""
        while self._served:
            waiting = self._queue.first() is not None
            for key, _ in self._selector.select(0 if waiting else None):
                self._hear(key.data)
            if self._queue.first() is not None:
                self._do(self._next())

    def _hear(self, one: Served) -> None:
        try:
            data = one.connection.recv(READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self._leave(one)
            return
        for body in one.frames.feed(data):
            if one.models is None:
                self._load(one, body)
            else:
                order = one.inward(self._decode(body), self._keys)
                self._queue.put(one.name, order.submitted_ns, round(one.device.expected_ms(order) * 1e6), order)

    def _load(self, one: Served, body: bytes) -> None:
        """Nodes say one after the other what they need; the first with a configuration pays for loading it."""
        if body not in self._loaded:
            try:
                config = msgspec.msgpack.decode(body, type=WorkerConfig)
                if not self._loaded:
                    self._clock = reading(config.clock)  # the same for all nodes of a run
                models = LoadedModels(config, self._clock)
                self._loaded[body] = models, models.compute()
            except TestbedError as error:
                self._loaded[body] = error
            gc.collect()
            gc.freeze()
            gc.disable()  # jobs make no cycles that matter; a collection would stall a pass
        loaded = self._loaded[body]
        if isinstance(loaded, TestbedError):
            self._tell(one, Refused.because(loaded))
            return
        one.models, one.compute = loaded
        one.device = one.models.device(one.compute)
        self._tell(one, one.models.ready())

    def _next(self) -> list[Due[Order]]:
        """The job due first, and as long as the next one can share its passes, that too."""
        together = [self._queue.take()]
        while len(together) < MOST_TOGETHER and (other := self._queue.first()) is not None:
            if other.device in (one.device for one in together) or not self._shares(together[0], other):
                break
            together.append(self._queue.take())
        return together

    def _shares(self, one: Due[Order], other: Due[Order]) -> bool:
        served = self._served[one.device]
        assert served.models is not None
        first, second = _draft_of(one.job), _draft_of(other.job)
        return (
            first is not None
            and second is not None
            and first.steps == second.steps
            and served.models.can_batch
            and served.models is self._served[other.device].models
        )

    def _do(self, jobs: Sequence[Due[Order]]) -> None:
        nodes = [self._served[one.device] for one in jobs]
        models = nodes[0].models
        assert models is not None
        try:
            with models.refusals():
                self._compute(nodes, jobs)
        except TestbedError as error:
            for node in nodes:
                self._tell(node, Refused.because(error))

    def _compute(self, nodes: Sequence[Served], jobs: Sequence[Due[Order]]) -> None:
        if len(jobs) == 1:
            self._do_one(nodes[0], jobs[0].job)
            return
        drafts = [draft for one in jobs if (draft := _draft_of(one.job)) is not None]
        done = nodes[0].compute.draft_together(drafts)
        for node, one, (ready, real) in zip(nodes, jobs, done, strict=True):
            assert isinstance(one.job, Submit)
            self._answer(node, node.device.drafted(one.job, ready, real))

    def _do_one(self, node: Served, order: Order) -> None:
        match order:
            case Release(request=key):
                node.release(key)
                gc.collect(0)
            case Submit():
                self._answer(node, node.device.answer(order))
            case _:
                assert_never(order)

    def _answer(self, node: Served, answer: Answer) -> None:
        self._tell(node, node.outward(answer))

    def _tell(self, one: Served, message: msgspec.Struct) -> None:
        try:
            one.connection.sendall(frame(message))
        except ConnectionError:
            self._leave(one)

    def _leave(self, one: Served) -> None:
        if self._served.pop(one.name, None) is None:
            return
        self._selector.unregister(one.connection)
        one.connection.close()
        self._queue.drop(one.name)
        one.release_all()


def _draft_of(order: Order) -> Draft | None:
    return order.job if isinstance(order, Submit) and isinstance(order.job, Draft) else None


def main(descriptors: Sequence[int]) -> int:
    precise_timers()
    precede_ordinary_programs()
    SharedWorker([socket.socket(fileno=descriptor) for descriptor in descriptors]).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main([int(text) for text in sys.argv[1:]]))
