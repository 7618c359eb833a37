"""Replay follows a policy's jobs through the table; what the table does not hold is a miss, never a guess."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from testbed.decoding.sampling import Sampling
from testbed.policies.api import Draft, Verify
from testbed.tables.replay import Replay, TableMiss, tokens_by_pass
from testbed.tables.table import DecodeTable, SampledFrom
from tests.table_examples import sampled_table, tiny_table

PROMPT = (1, 2)


def bound(table: DecodeTable | None = None) -> Replay:
    replay = Replay(table or tiny_table())
    replay.bind(7, "a")
    return replay


def draft(position: int, tokens: tuple[int, ...], steps: int = 1) -> Draft:
    return Draft(0, 7, position, tokens, steps)


def verify(position: int, tokens: tuple[int, ...], drafts: int) -> Verify:
    return Verify(0, 7, position, tokens, drafts)


# --- the drafter ----------------------------------------------------------------------------------------------------


def test_drafts_after_the_prompt_are_the_rollout_there() -> None:
    ready = bound().draft(draft(0, PROMPT, 3), duration_ms=2.5)
    assert (ready.tokens, ready.entropies, ready.confidences) == ((10, 21, 22), (0.5, 0.6, 0.61), (0.9, 0.5, 0.51))
    assert ready.duration_ms == 2.5


def test_feeding_the_target_s_token_leads_to_the_next_true_prefix() -> None:
    replay = bound()
    replay.draft(draft(0, PROMPT))
    replay.draft(draft(2, (10,)))
    assert replay.draft(draft(3, (11,), 2)).tokens == (12, 40)  # not reachable along any rollout: 11 corrected a draft


def test_one_token_a_pass_equals_several_steps_in_one_job() -> None:
    stepwise, at_once = bound(), bound()
    tokens = [stepwise.draft(draft(0, PROMPT)).tokens[0]]
    for position in (2, 3, 4):
        tokens.append(stepwise.draft(draft(position, (tokens[-1],))).tokens[0])
    assert tuple(tokens) == at_once.draft(draft(0, PROMPT, 4)).tokens


def test_rolling_on_after_agreement_reaches_deeper_than_one_rollout() -> None:
    replay = bound()
    replay.draft(draft(0, PROMPT, 4))
    assert replay.draft(draft(5, (23,))).tokens == (24,)  # depth counts from the disagreement, not from the prompt


def test_a_crop_goes_back_along_the_same_rollout() -> None:
    replay = bound()
    replay.draft(draft(0, PROMPT, 4))  # cache: prompt, 10, 21, 22
    assert replay.draft(draft(4, (22,))).tokens == (23,)
    assert replay.draft(draft(3, (21,))).tokens == (22,)
    assert replay.draft(draft(3, (11,))).tokens == (12,)
    assert replay.draft(draft(1, (2,))).tokens == (10,)  # into the prompt


def test_second_choices_can_be_followed() -> None:
    replay = bound()
    replay.draft(draft(0, PROMPT))
    assert replay.draft(draft(2, (30,), 2)).tokens == (31, 32)
    assert replay.draft(draft(3, (31,))).entropies == (0.91,)
    assert replay.draft(draft(2, (10,))).tokens == (21,)  # and left again


def test_drafting_past_the_recorded_output_works_to_the_full_depth() -> None:
    replay = bound()
    replay.draft(draft(0, PROMPT))
    assert replay.draft(draft(2, (10, 11, 12), 4)).tokens == (40, 41, 42, 43)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([draft(0, PROMPT, 5)], "prompt 'a', output position 0: .*record the table with a greater depth"),
        ([draft(0, PROMPT, 4), draft(5, (23, 24))], "output position 1: .*record the table with a greater depth"),
        ([draft(0, PROMPT), draft(2, (99,))], "token 99 is not a recorded choice"),
        ([draft(0, PROMPT, 2), draft(3, (21, 99))], "token 99 does not continue"),
        ([draft(0, (1, 3))], "the prompt differs from the recorded one"),
        ([draft(0, (1,))], "before the whole prompt"),
        ([Draft(0, 7, 0, PROMPT, sampled=True)], "greedy drafts only"),
    ],
)
def test_a_draft_outside_the_table_is_a_miss_that_says_where(jobs: list[Draft], message: str) -> None:
    replay = bound()
    for job in jobs[:-1]:
        replay.draft(job)
    with pytest.raises(TableMiss, match=f"decode table tiny: .*{message}"):
        replay.draft(jobs[-1])


def test_a_second_choice_that_was_not_recorded_is_a_miss() -> None:
    replay = bound(tiny_table(second_choice=False))
    replay.draft(draft(0, PROMPT))
    with pytest.raises(TableMiss, match="not a recorded choice"):
        replay.draft(draft(2, (30,)))


def test_a_crop_beyond_the_cache_is_a_defect_of_the_policy() -> None:
    """As with the real runtime: never answered."""
    replay = bound()
    replay.draft(draft(0, PROMPT))
    with pytest.raises(ValueError, match="cannot crop"):
        replay.draft(draft(3, (10,)))
    with pytest.raises(ValueError, match="cannot crop"):
        replay.verify(verify(1, (2,), 0))


# --- the target -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drafts", "accepted", "tokens", "entropies"),
    [
        ((), 0, (10,), (0.1,)),
        ((99,), 0, (10,), (0.1,)),
        ((10,), 1, (10, 11), (0.1, 0.2)),
        ((10, 21), 1, (10, 11), (0.1, 0.2)),
        ((10, 11), 2, (10, 11, 12), (0.1, 0.2, 0.3)),
        ((10, 21, 12), 1, (10, 11), (0.1, 0.2)),
    ],
)
def test_the_verdict_is_the_target_s_own_output(
    drafts: tuple[int, ...], accepted: int, tokens: tuple[int, ...], entropies: tuple[float, ...]
) -> None:
    ready = bound().verify(verify(0, PROMPT + drafts, len(drafts)))
    assert (ready.accepted, ready.tokens, ready.entropies) == (accepted, tokens, entropies)


def test_verification_goes_on_after_a_refused_draft() -> None:
    replay = bound()
    replay.verify(verify(0, (*PROMPT, 99, 98), 2))
    assert replay.verify(verify(2, (10, 11), 1)).tokens == (11, 12)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([verify(0, (*PROMPT, 10, 11, 12), 3)], "output position 3: .*more output tokens"),
        ([verify(0, (*PROMPT, 99, 98), 2), verify(3, (98, 97), 1)], "not its output"),
        ([verify(0, (*PROMPT, 99, 10), 1)], "not its output"),
        ([verify(0, (1,), 0)], "not its output"),
        ([verify(0, (3, 2), 0)], "the prompt differs from the recorded one"),
        ([Verify(0, 7, 0, PROMPT, 0, Sampling(temperature=1.0))], "was requested, but the request uses"),
    ],
)
def test_a_verdict_outside_the_table_is_a_miss_that_says_where(jobs: list[Verify], message: str) -> None:
    replay = bound()
    for job in jobs[:-1]:
        replay.verify(job)
    with pytest.raises(TableMiss, match=f"decode table tiny: .*{message}"):
        replay.verify(jobs[-1])


# --- both -----------------------------------------------------------------------------------------------------------


def test_requests_do_not_see_each_other() -> None:
    replay = bound()
    replay.bind(8, "b")
    replay.draft(draft(0, PROMPT, 4))
    assert replay.draft(Draft(0, 8, 0, (3,))).tokens == (10,)
    assert replay.draft(draft(5, (23,))).tokens == (24,)


def test_a_released_request_starts_empty_when_bound_again() -> None:
    replay = bound()
    replay.draft(draft(0, PROMPT, 4))
    replay.release(7)
    replay.release(7)
    replay.bind(7, "a")
    with pytest.raises(ValueError, match="cannot crop"):
        replay.draft(draft(2, (10,)))


def test_an_unknown_prompt_is_named() -> None:
    with pytest.raises(TableMiss, match="no prompt 'c'"):
        Replay(tiny_table()).bind(1, "c")


def test_a_sampled_request_is_answered_by_its_own_output_only() -> None:
    law = sampled_table().provenance.sampling
    assert isinstance(law, SampledFrom)
    sampling = law.with_seed(7)
    replay = Replay(sampled_table())
    replay.bind(7, "a", sampling)
    assert replay.verify(Verify(0, 7, 0, PROMPT, 0, sampling)).tokens == (10,)
    with pytest.raises(TableMiss, match=r"seed=8.* was requested, but the request uses .*seed=7"):
        replay.verify(Verify(0, 7, 2, (10,), 0, replace(sampling, seed=8)))
    with pytest.raises(TableMiss, match=r"no prompt 'a' sampled as .*seed=12"):
        replay.bind(8, "a", replace(sampling, seed=12))
    with pytest.raises(TableMiss, match="no prompt 'a' decoded greedily"):
        replay.bind(8, "a")
    with pytest.raises(TableMiss, match="no prompt 'c': record"):
        replay.bind(8, "c", sampling)


def test_the_seed_of_a_greedy_request_decides_nothing() -> None:
    replay = bound()
    assert replay.verify(Verify(0, 7, 0, PROMPT, 0, Sampling(seed=3))).tokens == (10,)


def test_passes_are_what_a_device_would_run() -> None:
    assert tokens_by_pass(draft(0, PROMPT, 3)) == (2, 1, 1)
    assert tokens_by_pass(verify(0, (*PROMPT, 10), 1)) == (3,)
