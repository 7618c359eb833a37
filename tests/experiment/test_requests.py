"""Which prompts users get: all of them in turn, and no class of promises only some of them."""

from __future__ import annotations

from collections import defaultdict

import pytest

from testbed.experiment.requests import plan_requests
from testbed.experiment.scenario import Scenario
from testbed.workload.prompts import Prompt, PromptSet

PROMPTS = PromptSet("p", tuple(Prompt(f"p{index}", str(index)) for index in range(40)), "0" * 64)


def planned(users: int, requests: int, classes: list[float]):
    scenario = Scenario.model_validate(
        {
            "name": "fleet",
            "topology": "two-sites",
            "workload": {
                "prompts": "p", "requests": requests, "arrivals": {"closed_loop": {"stagger_s": 0}},
                "slo_tokens_per_s": classes,
            },
            "models": {"target": "t", "draft": "d"},
            "place": {"user": {"near": users}, "target": "near"},
            "policies": ["autoregressive"],
        }
    )  # fmt: skip
    return plan_requests(scenario, PROMPTS, lambda text: [int(text)], (), 1, 0)


@pytest.mark.parametrize("users", [97, 100, 120, 128])
def test_every_class_meets_every_prompt_about_equally_often(users: int) -> None:
    """Also where the number of users, of classes and of prompts share factors."""
    met: dict[float, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in planned(users, users * 40, [2, 4, 6, 8]):
        met[one.slo_tokens_per_s][one.prompt_id] += 1
    for counts in met.values():
        assert len(counts) == 40
        assert max(counts.values()) <= 1.5 * min(counts.values())


def test_the_first_time_round_is_in_the_order_of_the_set_and_draws_are_keyed_by_prompt() -> None:
    requests = planned(8, 120, [2])
    assert [one.prompt_id for one in requests[:40]] == [f"p{index}" for index in range(40)]
    seeds = defaultdict(set)
    for one in requests:
        seeds[one.prompt_id].add(one.sampling.seed)
    assert all(len(mine) == 1 for mine in seeds.values())
