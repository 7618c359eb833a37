"""The experiment with a public model is simulated from the table that ships, whether or not the model was added."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.experiment.document import load_scenario
from testbed.models.load import model_hash
from testbed.models.lookup import LOOKUP
from testbed.simulation.engine import rows_of, simulate
from testbed.simulation.inputs import from_scenario
from testbed.simulation.world import NO_OVERHEADS

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "smollm2.yaml"


@pytest.mark.slow
def test_it_is_simulated_without_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    noted: list[str] = []
    inputs = from_scenario(load_scenario(EXPERIMENT), None, NO_OVERHEADS, noted.append)
    made_of = inputs.table.provenance
    assert (made_of.target, made_of.draft, made_of.draft_sha256) == ("smollm2-target", LOOKUP, model_hash(LOOKUP))
    assert any("testbed models add smollm2" in line for line in noted)
    rows = rows_of(inputs, simulate(inputs))["requests"]
    outputs: dict[str, set[tuple[int, ...]]] = {}
    for row in rows:
        outputs.setdefault(row.prompt_id, set()).add(tuple(row.tokens))
    assert len(outputs) == 8 and all(len(same) == 1 for same in outputs.values())
