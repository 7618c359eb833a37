"""Prompt sets are refused line by line; arrivals are seeded and keep their rate."""

import pytest

from testbed.errors import BadInput
from testbed.workload.arrivals import (
    Burst,
    BurstArrivals,
    ClosedLoop,
    ClosedLoopArrivals,
    Poisson,
    PoissonArrivals,
    Surge,
    due_times_ms,
)
from testbed.workload.prompts import load_prompts


def test_the_shipped_prompt_sets_hold_what_the_demo_needs():
    assert len(load_prompts("prose").prompts) >= 40
    assert len({prompt.id for prompt in load_prompts("mixed").prompts}) >= 20


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"id": "a", "text": "x"}\nnot json\n', r"p.jsonl:2: is not a prompt"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', r"p.jsonl:2: id 'a' occurs twice"),
        ('{"id": "a", "text": ""}\n', r"p.jsonl:1: the text of 'a' is empty"),
        ("\n", r"holds no prompts"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, complaint):
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(BadInput, match=complaint):
        load_prompts(str(path))


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'prose'"):
        load_prompts("prosa")


def test_sequential_requests_have_no_due_time():
    assert due_times_ms("sequential", 3, seed=1) == [None, None, None]


def test_poisson_arrivals_are_seeded_ascending_and_keep_their_rate():
    arrivals = PoissonArrivals(poisson=Poisson(rate_per_s=50))
    due = due_times_ms(arrivals, 4000, seed=1)
    assert due == due_times_ms(arrivals, 4000, seed=1) != due_times_ms(arrivals, 4000, seed=2)
    assert due == sorted(due)
    assert due[-1] / 4000 == pytest.approx(20.0, rel=0.06)  # 4 standard errors of the mean of 4000 gaps


def test_in_a_closed_loop_only_everyone_s_first_request_has_a_time():
    arrivals = ClosedLoopArrivals(closed_loop=ClosedLoop(stagger_s=8.0))
    due = due_times_ms(arrivals, 10, seed=1, users=4)
    assert all(0 <= at < 8000 for at in due[:4]) and len(set(due[:4])) == 4 and due[4:] == [None] * 6
    assert due_times_ms(ClosedLoopArrivals(closed_loop=ClosedLoop()), 3, seed=1, users=2) == [None] * 3


def test_a_surge_has_its_own_rate_and_the_rest_keeps_theirs():
    surges = [Surge(start_s=100, length_s=50, rate_per_s=40), Surge(start_s=200, length_s=50, rate_per_s=5)]
    due = due_times_ms(BurstArrivals(burst=Burst(rate_per_s=10, surges=surges)), 6000, seed=1)
    assert due == sorted(due)

    def count(begin_s, end_s):
        return sum(begin_s * 1e3 <= at < end_s * 1e3 for at in due)

    for begin, end, rate in ((0, 100, 10), (100, 150, 40), (150, 200, 10), (200, 250, 5), (250, 350, 10)):
        expected = (end - begin) * rate
        assert count(begin, end) == pytest.approx(expected, abs=4 * expected**0.5)


def test_surges_that_overlap_are_refused():
    surges = [Surge(start_s=10, length_s=50, rate_per_s=4), Surge(start_s=59, length_s=5, rate_per_s=5)]
    with pytest.raises(ValueError, match="59 s begins before that at 10 s has ended"):
        Burst(rate_per_s=1, surges=surges)
