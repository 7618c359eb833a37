"""Draft jobs of several devices in shared real passes: what each would draft alone, in the passes of its own device."""

import random

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from testbed.decoding.sampling import Sampling
from testbed.models.batch import BatchRuntime
from testbed.models.compute import Compute
from testbed.policies.api import Draft, DraftTree


@pytest.fixture(scope="module")
def model():
    """Absolute positions, where a shifted one would show, in double precision, where ties do not."""
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=61, n_positions=256, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3, eos_token_id=0,
        bos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).double().eval()


def by_fours(tokens):
    return [4] * (tokens // 4) + ([tokens % 4] if tokens % 4 else [])


def compute_of(model):
    return Compute({"draft": BatchRuntime(model)}, {"draft": by_fours})


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_each_job_is_answered_as_if_it_ran_alone(model, steps, temperature):
    """Ragged feeds, rewinds, and requests that are drafted for alone now and then."""
    draws = random.Random(1)
    together, apart = compute_of(model), compute_of(model)
    texts = {request: [draws.randrange(1, 61) for _ in range(draws.randint(3, 11))] for request in range(5)}
    cached = dict.fromkeys(texts, 0)
    for number in range(8):
        picked = draws.sample(sorted(texts), draws.randint(1, 5))
        jobs = [
            Draft(
                number, one, cached[one], tuple(texts[one][cached[one] :]), steps=steps, features=True,
                sampled=temperature > 0, sampling=Sampling(temperature, seed=one),
            )
            for one in picked
        ]  # fmt: skip
        ours = [together.draft(jobs[0])] if len(jobs) == 1 else together.draft_together(jobs)
        for job, (ready, real) in zip(jobs, ours, strict=True):
            alone, passes = apart.draft(job)
            assert (ready.request, ready.tokens) == (alone.request, alone.tokens)
            for field in ("entropies", "confidences", "margins", "logit_variances"):
                assert getattr(ready, field) == pytest.approx(getattr(alone, field), abs=1e-6)
            assert [(one.position, one.tokens) for one in real] == [(one.position, one.tokens) for one in passes]
            kept = draws.randint(0, steps)
            texts[job.request] += [*ready.tokens[:kept], draws.randrange(1, 61)]
            cached[job.request] = job.position + len(job.tokens) + min(kept, steps - 1)


def test_a_feed_that_its_device_would_cut_is_reported_in_its_passes_of_which_the_last_took_the_time(model):
    jobs = [Draft(0, 1, 0, (5,) * 10), Draft(0, 2, 0, (5,))]
    (_, long), (_, short) = compute_of(model).draft_together(jobs)
    assert [(one.position, one.tokens) for one in long] == [(0, 4), (4, 4), (8, 2)]
    assert [one.end_ns - one.start_ns for one in long[:2]] == [0, 0]
    assert (long[2].start_ns, long[2].end_ns) == (short[0].start_ns, short[0].end_ns)


def test_a_request_that_shared_passes_may_draft_a_tree_and_share_passes_again(model):
    """Its cache leaves the shared one and comes back; nobody's drafts differ from those of a device alone."""
    together, apart = compute_of(model), compute_of(model)

    def share(number: int, first: tuple[int, tuple[int, ...]], second: tuple[int, tuple[int, ...]]) -> None:
        jobs = [Draft(number, user, *fed, steps=2) for user, fed in ((1, first), (2, second))]
        drafted = together.draft_together(jobs)
        assert [ready.tokens for ready, _ in drafted] == [apart.draft(job)[0].tokens for job in jobs]

    share(1, (0, (5, 6, 7)), (0, (9, 8, 7, 6, 5)))
    tree = DraftTree(2, 1, position=2, tokens=(7,), nodes=(3, 4), parents=(-1, 0), leaves=(0, 1), width=3, fresh=3)
    ours, alone = together.draft_tree(tree)[0], apart.draft_tree(tree)[0]
    assert ours.tokens == alone.tokens
    for a, b in zip(ours.probabilities, alone.probabilities, strict=True):
        assert a == pytest.approx(b, abs=1e-6)
    share(3, (3, (11,)), (5, (12, 13)))
