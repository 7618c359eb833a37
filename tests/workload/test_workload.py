"""Prompt sets are refused line by line; arrivals are seeded and keep their rate."""

import pytest

from testbed.errors import BadInput
from testbed.workload.arrivals import Poisson, PoissonArrivals, due_times_ms
from testbed.workload.prompts import load_prompts


def test_the_shipped_prompt_sets_hold_what_the_demo_needs():
    assert len(load_prompts("prose").prompts) >= 40
    assert len({prompt.id for prompt in load_prompts("mixed").prompts}) >= 20


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"id": "a", "text": "x"}\nnot json\n', r"p.jsonl:2: not a prompt"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', r"p.jsonl:2: id 'a' occurs twice"),
        ('{"id": "a", "text": ""}\n', r"p.jsonl:1: the text of 'a' is empty"),
        ("\n", r"holds no prompt"),
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
