"""Batched passes: each request's logits are its one-request logits, whatever shares the pass, rewinds included.

Absolute-position models are here because a uniformly shifted position is invisible to rotary ones.
"""

import random
from typing import Any

import pytest
import torch

from testbed.models.batch import CHEAP_PADDING, BatchRuntime, passes_of
from testbed.models.feeds import BatchFeed
from testbed.models.load import load_model
from testbed.models.runtime import CausalRuntime

VOCABULARY = 61
FP64: Any = {"atol": 1e-10, "rtol": 0}


def drawn_text(draws, length, vocabulary=VOCABULARY):
    return [draws.randrange(1, vocabulary) for _ in range(length)]


class Users:
    """Requests that are fed drafts, some of which are rejected: what a verifier does, without its rules."""

    def __init__(self, draws, count, vocabulary=VOCABULARY, prompt=(3, 20)):
        self.draws, self.vocabulary = draws, vocabulary
        self.texts = {user: drawn_text(draws, draws.randint(*prompt), vocabulary) for user in range(count)}
        self.known = dict.fromkeys(self.texts, 0)  # tokens of the text that are cached

    def feed(self, user, longest=5):
        """What is uncached of the text, then drafts; afterwards a random number of the drafts is kept."""
        text, draws = self.texts[user], self.draws
        drafts = drawn_text(draws, draws.randint(0, longest), self.vocabulary)
        feed = BatchFeed(user, self.known[user], [*text[self.known[user] :], *drafts], len(drafts) + 1)
        kept = draws.randint(0, len(drafts))
        self.known[user] = len(text) + kept
        text += [*drafts[:kept], draws.randrange(1, self.vocabulary)]
        return feed


def test_ragged_batches_with_rejections_equal_the_one_request_path(family):
    """Ten rounds, users coming and going: every logit, and so every argmax, is the one-request path's."""
    draws, model = random.Random(1), family(1)
    users, batched, alone = Users(draws, 7), BatchRuntime(model), CausalRuntime(model)
    for round_ in range(10):
        present = [user for user in users.texts if draws.random() < 0.7] or [0]
        feeds = [users.feed(user) for user in draws.sample(present, len(present))]
        for feed, logits in zip(feeds, batched.forward_batch(feeds), strict=True):
            expected = alone.forward(*feed)
            torch.testing.assert_close(logits, expected, **FP64)
            assert logits.argmax(-1).tolist() == expected.argmax(-1).tolist()
        if round_ == 5:
            for runtime in (batched, alone):
                runtime.release(2)
            users.texts[2], users.known[2] = drawn_text(draws, 9), 0  # another request takes over the row


def test_the_shipped_target_in_fp32_agrees_with_the_one_request_path():
    draws, loaded = random.Random(2), load_model("tiny-target", threads=1)
    users = Users(draws, 6, loaded.model.config.vocab_size, prompt=(20, 60))
    batched, alone = BatchRuntime(loaded.model), CausalRuntime(loaded.model)
    for _ in range(6):
        feeds = [users.feed(user) for user in users.texts]
        for feed, logits in zip(feeds, batched.forward_batch(feeds), strict=True):
            expected = alone.forward(*feed)
            torch.testing.assert_close(logits, expected, atol=2e-3, rtol=0)  # of logits of size 10 and more
            assert logits.argmax(-1).tolist() == expected.argmax(-1).tolist()


def test_a_request_may_move_from_its_own_cache_into_a_batch_and_be_fed_alone_there(family, full_logits, sequence):
    model = family(3)
    runtime = BatchRuntime(model)
    golden = full_logits(model, sequence)
    runtime.forward(1, 0, sequence[:9])
    runtime.forward(2, 0, sequence[:30])
    first, second = runtime.forward_batch([BatchFeed(1, 7, sequence[7:12], 5), BatchFeed(2, 30, sequence[30:31])])
    torch.testing.assert_close(first, golden[7:12], **FP64)
    torch.testing.assert_close(second, golden[30:31], **FP64)
    torch.testing.assert_close(runtime.forward(1, 12, sequence[12:20], 2), golden[18:20], **FP64)
    torch.testing.assert_close(runtime.forward(1, 5, sequence[5:8]), golden[7:8], **FP64)
    assert (runtime.length(1), runtime.length(2)) == (8, 31)


def test_a_request_never_batched_runs_as_in_the_one_request_runtime(sequence, families):
    """Bit for bit: policies that verify one request at a time must not change by a batched one existing."""
    model = families["llama"](4).float()
    ours, theirs = BatchRuntime(model), CausalRuntime(model)
    assert torch.equal(ours.forward(1, 0, sequence, 4), theirs.forward(1, 0, sequence, 4))
    assert torch.equal(ours.forward(1, 20, sequence[20:23], 3), theirs.forward(1, 20, sequence[20:23], 3))


def test_rows_and_lengths_grow_without_losing_what_is_cached(family, full_logits):
    draws, model = random.Random(5), family(5)
    texts = {user: drawn_text(draws, 40 if user else 250) for user in range(20)}
    runtime = BatchRuntime(model)
    for upto in (10, 20):  # the second ten users need more rows than there were
        runtime.forward_batch([BatchFeed(user, 0, texts[user][:-5], 0) for user in range(upto - 10, upto)])
    answers = runtime.forward_batch([BatchFeed(user, len(text) - 5, text[-5:], 5) for user, text in texts.items()])
    for user, logits in enumerate(answers):
        torch.testing.assert_close(logits, full_logits(model, texts[user])[-5:], **FP64)


def test_feeds_share_a_pass_unless_padding_would_dominate():
    assert passes_of([5] * 16) == [list(range(16))]
    assert len(passes_of([1, 2, 3, 5, 5, 1, 8, 2] * 2)) == 1
    assert passes_of([1, 200, 1, 1]) == [[1], [0, 2, 3]]
    for lengths in ([7, 100, 3, 90, 1, 1, 50], [1], [64, 1]):
        groups = passes_of(lengths)
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        for group in groups:
            fed = [lengths[index] for index in group]
            assert max(fed) * len(fed) - sum(fed) <= CHEAP_PADDING + sum(fed) // 4


def test_what_cannot_be_fed_is_refused(families):
    runtime = BatchRuntime(families["llama"](6))
    with pytest.raises(ValueError, match="beyond the 0 cached"):
        runtime.forward_batch([BatchFeed(1, 3, [4])])
    with pytest.raises(ValueError, match="twice"):
        runtime.forward_batch([BatchFeed(1, 0, [4]), BatchFeed(1, 0, [5])])
    with pytest.raises(ValueError, match="logits of 3 of 2"):
        runtime.forward_batch([BatchFeed(1, 0, [4, 5], 3)])
