"""The notebooks run from top to bottom on a run directory, without Jupyter."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.report.synthetic import write_run

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_no_output_is_committed(path, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.setenv("TESTBED_RUN", str(write_run(tmp_path)))
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(not cell["outputs"] for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), str(path), "exec"), names)
    assert set(names["requests"]["policy"]) == {"autoregressive", "speculative", "wanspec"}
