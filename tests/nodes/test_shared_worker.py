"""One model worker for many devices: the drafts of a worker of one's own, a clock for each, no caches mixed."""

import asyncio
import random
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import msgspec
import pytest

from testbed.clock.api import WALL
from testbed.clock.waiting import Barriers
from testbed.models.devices import load_profile
from testbed.nodes.jobs import Answer, PassRecord, Refused, Release, Submit, WorkerConfig, WorkerReady, frame
from testbed.nodes.sharedworker import SharedWorker
from testbed.nodes.sharing import MOST_OWN_WORKERS, shared_workers
from testbed.nodes.worker import LoadedModels
from testbed.nodes.workerclient import WorkerClient, precise_loop
from testbed.policies.api import Draft, DraftBatch, DraftBatchReady, DraftReady
from testbed.wire.framing import Frames

CONFIG = WorkerConfig({"draft": "tiny-draft"}, {"draft": load_profile("raspberry-pi-5/qwen3-0.6b-q4").timing})
USERS = 6


class Node:
    """A node's end of its connection."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(60)
        self._frames, self._bodies = Frames(), []

    def send(self, message):
        self.ours.sendall(frame(message))

    def receive(self, kind):
        while not self._bodies:
            data = self.ours.recv(65536)
            assert data, "the worker closed the connection"
            self._bodies += self._frames.feed(data)
        return msgspec.msgpack.decode(self._bodies.pop(0), type=kind)


@pytest.fixture
def nodes():
    nodes = [Node() for _ in range(USERS)]
    worker = SharedWorker([node.theirs for node in nodes])
    thread = threading.Thread(target=worker.serve)
    thread.start()
    yield nodes
    for node in nodes:
        node.ours.close()
    thread.join(30)
    assert not thread.is_alive(), "it ends when the last node has gone"


@pytest.fixture(scope="module")
def models():
    return LoadedModels(CONFIG)


def script(draws, jobs=12):
    """Draft jobs of one device with one request: a prompt, then drafts that are kept or rewound."""
    text = [draws.randrange(1, 2048) for _ in range(draws.randint(5, 40))]
    cached = 0
    for number in range(jobs):
        drafted = yield Draft(number, 7, cached, tuple(text[cached:]), steps=draws.choice([1, 1, 3]), features=True)
        cached = len(text)
        cached = cached + len(drafted) - 1
        text += drafted
        if draws.random() < 0.4:  # some were refused
            kept = draws.randint(1, len(drafted))
            text = [*text[: len(text) - len(drafted) + kept], draws.randrange(1, 2048)]
            cached = min(cached, len(text) - 1)


def alone(models, seed):
    worker = models.device(models.compute())
    steps, found = script(random.Random(seed)), []
    job = next(steps)
    while True:
        found.append(worker.answer(Submit(job, 1)).ready)
        try:
            job = steps.send(found[-1].tokens)
        except StopIteration:
            return found


def test_drafts_are_those_of_a_worker_of_ones_own_for_requests_of_one_number(nodes, models):
    """Six devices draft for request 7 each, with their own texts, all at once: most passes are shared."""
    scripts = [script(random.Random(seed)) for seed in range(USERS)]
    for node in nodes:
        node.send(CONFIG)
    assert {node.receive(WorkerReady).models["draft"] for node in nodes} == {models.hashes["draft"]}
    jobs, found = [next(one) for one in scripts], [[] for _ in scripts]
    while any(jobs):
        for node, job in zip(nodes, jobs, strict=True):
            if job is not None:
                node.send(Submit(job, time.monotonic_ns()))
        for index, node in enumerate(nodes):
            if jobs[index] is not None:
                found[index].append(node.receive(Answer).ready)
                try:
                    jobs[index] = scripts[index].send(found[index][-1].tokens)
                except StopIteration:
                    jobs[index] = None
    for seed, ours in enumerate(found):
        theirs = alone(models, seed)
        assert [(one.job, one.request, one.tokens) for one in ours] == [(one.job, 7, one.tokens) for one in theirs]
        for a, b in zip(ours, theirs, strict=True):
            for field in ("entropies", "confidences", "margins", "logit_variances"):
                assert getattr(a, field) == pytest.approx(getattr(b, field), rel=1e-3, abs=1e-4)


def test_every_device_has_a_clock_of_its_own(nodes):
    """Paced times are the profile's for each, however many wait: 40 ms a token on this device."""
    for node in nodes:
        node.send(CONFIG)
        node.receive(WorkerReady)
    asked = time.monotonic_ns() + 3_600_000_000_000  # far ahead, so that no real pass can be late
    for node in nodes:
        node.send(Submit(Draft(0, 1, 0, (5,)), asked))
        node.send(Submit(Draft(1, 1, 1, (6,), steps=2), asked))
    for node in nodes:
        first, second = node.receive(Answer), node.receive(Answer)
        times = [(one.started_ns - asked, one.finished_ns - asked) for one in first.passes + second.passes]
        assert times == [(0, 40_000_000), (40_000_000, 80_000_000), (80_000_000, 120_000_000)]
        assert second.ready.duration_ms == 80.0


def test_a_request_that_ended_is_forgotten_and_its_number_begins_anew(nodes):
    node = nodes[0]
    node.send(CONFIG)
    node.receive(WorkerReady)
    drafts = []
    for _ in range(2):
        node.send(Submit(Draft(0, 3, 0, (9, 8, 7)), time.monotonic_ns()))
        drafts.append(node.receive(Answer).ready.tokens)
        node.send(Release(3, time.monotonic_ns()))
    assert drafts[0] == drafts[1]


def test_a_node_that_leaves_does_not_stop_the_others(nodes):
    for node in nodes:
        node.send(CONFIG)
        node.receive(WorkerReady)
        node.send(Submit(Draft(0, 1, 0, (5, 6)), time.monotonic_ns()))
    nodes[2].ours.close()
    for node in nodes[:2] + nodes[3:]:
        assert node.receive(Answer).ready.job == 0


def test_models_that_cannot_be_loaded_are_said_to_the_node(nodes):
    nodes[0].send(WorkerConfig({"draft": "no-such-model"}, CONFIG.devices))
    assert "no-such-model" in nodes[0].receive(Refused).error


def test_the_node_hands_no_answer_on_before_it_is_due_and_none_before_an_earlier_one():
    """The answers arrive at once; when they are due is the worker's word."""

    async def run():
        ours, theirs = socket.socketpair()
        with theirs:
            client = WorkerClient(lambda why: None, Barriers(WALL), {"draft": CONFIG.devices["draft"]})
            theirs.sendall(frame(WorkerReady({})))
            await client.join(ours.detach(), CONFIG)
            dues = [time.monotonic_ns() + round(ms * 1e6) for ms in (30, 30, 31.5, 60)]
            heard, done = [], asyncio.Event()

            def answered(number, _, __):
                heard.append((number, time.monotonic_ns() - dues[number]))
                if number == 3:
                    done.set()

            for number, due in enumerate(dues):
                client.submit(Draft(number, 1, 0, (5,)), partial(answered, number))
                theirs.sendall(frame(paced(number, due)))
            await asyncio.wait_for(done.wait(), 30)
            await client.close()
            return heard

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        heard = runner.run(run())
    assert [number for number, _ in heard] == [0, 1, 2, 3]
    assert all(late_ns >= 0 for _, late_ns in heard)


def paced(number, due_ns):
    ready = DraftReady(number, 1, (3,), (0.0,), (1.0,), duration_ms=1.0)
    return Answer(ready, passes=(PassRecord(0, due_ns, 1.0, 1.0, 0.0, 0, 1),))


def fleet(users):
    return {f"user{number}": {"draft": "d"} for number in range(users)} | {"target0": {"target": "t", "draft": "d"}}


def test_few_drafting_nodes_keep_a_worker_each_and_the_target_always_does():
    assert shared_workers(fleet(MOST_OWN_WORKERS), cores=2) == []
    assert shared_workers(fleet(32), cores=2) == [[f"user{number}" for number in range(32)]]
    assert shared_workers({f"user{number}": {} for number in range(50)}, cores=2) == []


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
def test_every_drafting_node_has_exactly_one_worker(cores):
    served = shared_workers(fleet(13), cores)
    assert sorted(node for nodes in served for node in nodes) == sorted(f"user{number}" for number in range(13))
    assert len(served) == {1: 1, 2: 1, 3: 2, 8: 2, 64: 2}[cores]
    assert max(map(len, served)) - min(map(len, served)) <= 1


def test_a_node_program_does_not_load_torch():
    """33 of them share a machine; each would be ten times its size."""
    code = "import sys, testbed.nodes.program; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_node_may_draft_for_many_requests_in_one_job(nodes, models):
    """A batch of three texts, one of them only fed: what a worker of one's own drafts, under the node's own numbers."""
    node = nodes[0]
    node.send(CONFIG)
    node.receive(WorkerReady)
    draws = random.Random(4)
    texts = {number: tuple(draws.randrange(1, 2048) for _ in range(9 + number)) for number in (7, 8, 9)}
    batch = DraftBatch(5, tuple(Draft(5, number, 0, text, steps=9 - number) for number, text in texts.items()))
    node.send(Submit(batch, time.monotonic_ns()))
    shared = node.receive(Answer)
    own = models.device(models.compute())
    assert isinstance(shared.ready, DraftBatchReady) and shared.ready.job == 5
    for member, got in zip(batch.members, shared.ready.members, strict=True):
        assert isinstance(member, Draft)
        alone = own.answer(Submit(member, 1)).ready if member.steps else None
        assert got.request == member.request and got.tokens == (alone.tokens if alone else ())
    assert [(one.member, one.batch) for one in shared.passes] == [(0, 3), (1, 3), (2, 3), (0, 1)]
    follows = Draft(6, 9, len(texts[9]), (11,))
    node.send(Submit(follows, time.monotonic_ns()))  # the one that was only fed goes on from there
    assert node.receive(Answer).ready.request == 9
