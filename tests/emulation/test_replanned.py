"""Where the plan asks for another dilation, everything comes up once more with it, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from testbed.emulation import measuring
from testbed.emulation.inputs import Inputs, Options
from testbed.emulation.measuring import Measured, measure
from testbed.experiment.progress import Silent
from tests.emulation.test_durations import inputs


@pytest.mark.parametrize(
    ("answer", "plan_only", "came_up_at"),
    [(None, False, [1.0]), (2.5, False, [1.0, 2.5]), (2.5, True, [1.0])],
)
def test_a_run_comes_up_again_with_what_its_plan_asks_for(
    answer: float | None, plan_only: bool, came_up_at: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Inputs] = []

    def once(given: Inputs, *_: Any) -> float | None:
        seen.append(given)
        return answer if len(seen) == 1 else None

    monkeypatch.setattr(measuring, "_measure", once)
    measure(inputs(), Options(), tmp_path, cast(Any, None), Silent(), Measured(), plan_only)
    assert [one.experiment.dilation for one in seen] == came_up_at
    assert {one.run_id for one in seen} == {"id"}, "what a run is does not depend on the machine it runs on"
    assert {one.scenario.time.given for one in seen} == {None}
