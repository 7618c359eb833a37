"""docs/write-a-policy.md tells the truth: its code block runs as it stands and keeps invariant 1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.policies.spec import PolicySpec
from testbed.testing import HashModels, Job, LogitModels, Loop

PAGE = Path(__file__).parents[2] / "docs" / "write-a-policy.md"


@pytest.fixture(scope="module")
def spec() -> PolicySpec:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module: dict[str, Any] = {"__name__": "lookup"}
    exec(compile(block, str(PAGE), "exec"), module)
    found = module["SPEC"]
    assert isinstance(found, PolicySpec)
    return found


def test_the_page_stays_short() -> None:
    assert len(PAGE.read_text().splitlines()) < 100


@pytest.mark.parametrize("k", [1, 3, 5])
def test_its_output_equals_greedy(spec: PolicySpec, k: int) -> None:
    models = HashModels(vocabulary=4)
    jobs = [Job(number, (number, 1, number, 2), 30, eos=(3,)) for number in range(4)]
    result = Loop(spec, spec.parse({"k": k}), models).run(jobs)
    assert all(tuple(result.outputs[job.request]) == models.reference(job) for job in jobs)


def test_it_saves_target_passes_where_the_text_repeats(spec: PolicySpec) -> None:
    cycle = LogitModels(lambda model, context: np.eye(5)[(context[-1] + 1) % 5])
    result = Loop(spec, spec.parse({}), cycle).run([Job(0, (0, 1, 2, 3, 4), 40)])
    assert result.outputs[0] == [(5 + index) % 5 for index in range(40)]
    assert result.count("verify") <= 11
