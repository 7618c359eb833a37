"""Each scope by hand, and resamples of prompts and seeds against what clustering must do."""

import numpy as np
import pytest

from testbed.simulation.judging import Level, Resamples
from testbed.simulation.probing import Requests
from testbed.workload.slo import kept, span


def requests(rows):
    """Rows of prompt, user, rate, tokens, seconds."""
    columns = list(zip(*rows, strict=True))
    tokens = np.array(columns[3], dtype=float)
    return Requests(
        np.array(columns[0], dtype=np.intp), np.array(columns[1], dtype=np.intp), np.array(columns[2], dtype=float),
        tokens, np.array(columns[4], dtype=float), emitted=tokens,
    )  # fmt: skip


def level(*fleets, users=2, prompts=8, same=True):
    ids = [[(0 if same else run, at) for at in range(prompts)] for run in range(len(fleets))]
    return Level(users, 10.0, tuple(requests(rows) for rows in fleets), Resamples.of(ids))


def test_a_rate_counts_from_sending_or_after_the_first_token():
    row = [np.array([one]) for one in (11, 0, 500_000_000, 2_500_000_000)]
    whole, after_first = span("whole", *row), span("after_first", *row)
    assert kept(*after_first, 5.0) and not kept(*after_first, 5.01)
    assert kept(*whole, 4.4) and not kept(*whole, 4.41)
    one = [np.array([value]) for value in (1, 0, 10, 10)]
    assert kept(*span("after_first", *one), 1e6)  # a single token has no time after it


def test_three_promises_of_one_fleet():
    """User 0 gets 12 and 6 tokens/s, 8 on average (longer at the slow one); user 1 gets 7.5 twice."""
    found = level([(0, 0, 8.0, 60, 5.0), (1, 0, 8.0, 60, 10.0), (2, 1, 8.0, 75, 10.0), (3, 1, 8.0, 75, 10.0)])
    assert (found.requests, found.violations) == (4, 3)
    assert found.measures["per_request"][0] == 0.75
    assert found.measures["per_user"][0] == 0.5
    assert found.measures["fleet"][0] == pytest.approx(8.0 * 35 / 270)
    assert found.emitted_per_user == pytest.approx(270 / 10 / 2)
    assert found.goodput("per_request") == pytest.approx(6.0)
    assert found.goodput("per_user") == pytest.approx(12.0)
    assert found.goodput("fleet") == 0.0


def test_the_worst_class_is_judged():
    found = level([(0, 0, 2.0, 100, 10.0), (1, 1, 8.0, 60, 10.0), (2, 1, 8.0, 90, 10.0)])
    assert found.by_class == ((2.0, 1, 0), (8.0, 2, 1))
    assert found.measures["per_request"][0] == 0.5 and found.measures["per_user"][0] == 1.0
    assert found.measures["fleet"][0] == pytest.approx(8.0 * 20 / 150)
    assert found.goodput("fleet") == pytest.approx(10.0)  # the class of 2 tokens/s had its rate


def replayed(bad, prompts=48, times=20):
    """Each prompt asked `times` times, of which those in `bad` always miss."""
    return [(at, turn % 2, 8.0, 100, 20.0 if at in bad else 10.0) for turn in range(times) for at in range(prompts)]


def test_an_interval_is_clustered_by_prompt_where_requests_alone_would_be_far_too_sure():
    """2 bad prompts of 48, asked 20 times each: by prompts the share is anything from 0 to 10 %, as of 2 in 48."""
    found = level(replayed({3, 7}), prompts=48)
    low, high = np.percentile(found.measures["per_request"][1:], [2.5, 97.5])
    assert found.measures["per_request"][0] == pytest.approx(2 / 48)
    assert low == 0.0 and 0.08 < high < 0.13
    of_requests = 1.96 * (2 / 48 * 46 / 48 / (48 * 20)) ** 0.5
    assert high - low > 3 * of_requests


def test_more_seeds_of_the_same_prompts_make_no_prompt_luckier():
    """Ten seeds of one prompt set are still one draw of its prompts; ten of prompts of their own are ten."""
    fleets = [replayed({3, 7}, times=4) for _ in range(10)]
    same, own = (level(*fleets, prompts=48, same=shared).measures["per_request"][1:] for shared in (True, False))
    one = level(fleets[0], prompts=48).measures["per_request"][1:]
    assert np.std(same) == pytest.approx(np.std(one), rel=0.1)
    assert np.std(own) < 0.5 * np.std(same)


def test_seeds_that_differ_widen_the_interval():
    alike = level(*[replayed({3}, times=4)] * 6, prompts=48)
    differ = level(*[replayed({3} if run % 2 else set(range(10)), times=4) for run in range(6)], prompts=48)
    spread = [np.std(one.measures["per_request"][1:]) for one in (alike, differ)]
    assert spread[1] > 1.3 * spread[0]


def test_few_prompts_have_no_resamples_and_resamples_of_one_prompt_set_are_the_same_for_all():
    assert len(level([(0, 0, 8.0, 60, 5.0)], prompts=5).measures["fleet"]) == 1
    first, second = level(replayed({3}), prompts=48), level(replayed({3}, times=3), users=9, prompts=48)
    assert np.array_equal(first.measures["per_request"], second.measures["per_request"])
