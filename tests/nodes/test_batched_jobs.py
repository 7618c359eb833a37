"""A batched job at a node: the same verdicts as one by one, one paced pass, one row per member, and bounded memory."""

import random

import msgspec
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from testbed.decoding.sampling import Sampling
from testbed.errors import RunInvalid
from testbed.models.batch import BatchRuntime
from testbed.models.compute import Compute
from testbed.models.devices import DeviceProfile
from testbed.models.load import load_model
from testbed.models.timing import Feed
from testbed.nodes.batches import feeds_of
from testbed.nodes.capacity import Capacity, limits_of
from testbed.nodes.jobs import Reply, Submit, frame
from testbed.nodes.worker import Worker
from testbed.policies.api import BatchReady, DeviceLimits, Verify, VerifyBatch, VerifyReady

PROFILE = DeviceProfile(
    name="p", device="d", model="m", kind="synthetic", source="test", pass_ms=((1, 2.0), (400, 41.9)),
    max_pass_tokens=400, attention_ms=1e-4, kv_read_ms=1e-3, sequence_ms=0.25, step_ms=0.5, kv_capacity_tokens=90,
)  # fmt: skip


def absolute_positions():
    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=61, n_positions=256, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3, eos_token_id=0,
        bos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).double().eval()


def shipped():
    return load_model("tiny-target", threads=1).model


def compute_of(model):
    return Compute({"target": BatchRuntime(model)}, {"target": lambda tokens: [tokens]})


def member(request, position, tokens, drafts, **options):
    return Verify(0, request, position, tuple(tokens), drafts, **options)


def rounds_of(draws, vocabulary, sampling, rounds=6, users=5):
    """Batches of a verifier whose users keep what was accepted, prompts in two parts; it is sent the verdicts."""
    texts = {user: [draws.randrange(1, vocabulary) for _ in range(draws.randint(6, 14))] for user in range(users)}
    cached = {user: draws.randint(1, len(text) - 1) for user, text in texts.items()}
    yield tuple(member(user, 0, texts[user][: cached[user]], 0, sampling=sampling, prefill=True) for user in texts)
    for _ in range(rounds):
        members = []
        for user in draws.sample(sorted(texts), draws.randint(1, users)):
            drafts = [draws.randrange(1, vocabulary) for _ in range(draws.randint(0, 4))]
            members.append(
                member(user, cached[user], texts[user][cached[user] :] + drafts, len(drafts), sampling=sampling)
            )
        verdicts = yield tuple(members)
        for one, verdict in zip(members, verdicts, strict=True):
            cached[one.request] = len(texts[one.request]) + verdict.accepted
            texts[one.request] += verdict.tokens


@pytest.mark.parametrize("make", [shipped, absolute_positions])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_batch_is_judged_as_its_members_would_be_one_by_one(make, temperature):
    """Invariant 1: on the shipped rotary pair in fp32, and on absolute positions, where a shift would show."""
    model = make()
    together, apart = compute_of(model), compute_of(model)
    batches = rounds_of(random.Random(3), model.config.vocab_size, Sampling(temperature, seed=5))
    members, judged = next(batches), 0
    while True:
        ready, real = together.verify_batch(VerifyBatch(1, members))
        alone = tuple(apart.verify(one)[0] for one in members)
        for ours, theirs in zip(ready.members, alone, strict=True):
            assert (ours.request, ours.accepted, ours.tokens) == (theirs.request, theirs.accepted, theirs.tokens)
            assert ours.entropies == pytest.approx(theirs.entropies, abs=1e-4)
        assert real.tokens == sum(len(one.tokens) for one in members)
        judged += sum(len(one.tokens) for one in ready.members)
        try:
            members = batches.send(ready.members)
        except StopIteration:
            break
    assert judged > 15


def test_a_batch_is_paced_once_for_all_members():
    """T = dense(8) + b (5*15 + 3*3) + c 10 + 2 members + step, whatever the real pass took; and over the pipe."""
    members = (member(1, 10, [3] * 5, 4), member(2, 0, [4] * 3, 0))
    worker = Worker(compute_of(absolute_positions()), {"target": PROFILE})
    worker.answer(Submit(VerifyBatch(0, (member(1, 0, [3] * 10, 0, prefill=True),)), 0))
    answer = worker.answer(Submit(VerifyBatch(7, members), 1))
    dense = 2.0 + 7 * 0.1
    assert isinstance(answer.ready, BatchReady)
    expected = pytest.approx(dense + 84e-4 + 10e-3 + 2 * 0.25 + 0.5)
    assert [one.paced_ms for one in answer.passes] == [expected, expected]
    assert [(one.position, one.tokens) for one in answer.passes] == [(10, 5), (0, 3)]
    assert len({(one.started_ns, one.finished_ns) for one in answer.passes}) == 1
    duration_ms = (answer.passes[0].finished_ns - answer.passes[0].started_ns) / 1e6
    assert answer.ready.duration_ms == duration_ms == answer.ready.members[1].duration_ms
    assert answer.ready.job == 7
    assert msgspec.msgpack.decode(frame(answer)[4:], type=Reply) == answer


def test_padding_is_computed_to_the_longest_member():
    members = (member(1, 10, [3] * 5, 4), member(2, 20, [4], 0))
    assert feeds_of(VerifyBatch(0, members)) == [Feed(5, 10), Feed(1, 20)]
    assert feeds_of(VerifyBatch(0, members, padded=True)) == [Feed(5, 10), Feed(5, 20)]


def test_memory_is_counted_over_requests_and_overflow_ends_the_run():
    capacity = Capacity("target0", limits_of(PROFILE))
    capacity.take(VerifyBatch(0, (member(1, 0, [3] * 40, 0), member(2, 0, [3] * 30, 0))))
    capacity.take(member(1, 35, [3] * 10, 2))  # a rewind and a feed: 45 tokens, not 80
    assert capacity.held == 75
    capacity.take(member(3, 0, [3] * 15, 0))  # exactly full
    with pytest.raises(RunInvalid, match=r"target0: 3 requests cache 91 tokens, .* holds 90"):
        capacity.take(member(2, 30, [3], 0))
    capacity.release(1)
    capacity.release(1)
    assert capacity.held == 46


def test_a_batch_beyond_one_pass_of_the_device_ends_the_run():
    capacity = Capacity("target0", DeviceLimits(max_pass_tokens=8))
    capacity.take(VerifyBatch(0, (member(1, 0, [3] * 5, 0), member(2, 0, [3] * 3, 0))))
    with pytest.raises(RunInvalid, match="a batch of 2 requests feeds 10 tokens, but the device takes 8"):
        capacity.take(VerifyBatch(1, (member(3, 0, [3] * 5, 0), member(4, 0, [3], 0)), padded=True))


def test_a_prefill_alone_has_no_verdict():
    ready, _ = compute_of(absolute_positions()).verify(member(1, 0, [3, 4, 5], 0, prefill=True))
    assert ready == VerifyReady(0, 1, 0, (), (), 0.0)
