"""The notebooks and the answers to their exercises run from top to bottom in simulation, without Jupyter.

Each opens with a question and ends with exercises whose answers are beside it; no output is committed.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.report.synthetic import write_run

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
ANSWERS = sorted((FOLDER / "answers").glob("*.ipynb"))
WRITE_FILE = "%%writefile "


def cells_of(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def run(path: Path) -> dict[str, Any]:
    """What a kernel does with the cells, in the current folder."""
    names: dict[str, Any] = {}
    for cell in cells_of(path, "code"):
        source = "".join(cell["source"])
        if source.startswith(WRITE_FILE):
            head, _, text = source.partition("\n")
            Path(head.removeprefix(WRITE_FILE)).write_text(text, encoding="utf-8")
        else:
            exec(compile(source, str(path), "exec"), names)
    return names


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A folder of its own, modules written there can be imported, figures are drawn to nowhere."""
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (file := getattr(sys.modules[name], "__file__", None)) and file.startswith(str(tmp_path)):
            del sys.modules[name]


def test_each_notebook_asks_a_question_and_has_answers_to_its_exercises():
    assert len(NOTEBOOKS) >= 5
    assert [path.name for path in ANSWERS] == [path.name for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        texts = ["".join(cell["source"]) for cell in cells_of(path, "markdown")]
        assert "?" in texts[0].splitlines()[0], path.name
        assert "## Exercises" in texts[-1] and f"answers/{path.name}" in texts[-1], path.name
    assert all(not cell["outputs"] for path in (*NOTEBOOKS, *ANSWERS) for cell in cells_of(path, "code"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(path, kernel):
    assert run(path)


def test_reading_a_run_takes_the_run_it_is_given(kernel, tmp_path, monkeypatch):
    monkeypatch.setenv("TESTBED_RUN", str(write_run(tmp_path / "run")))
    found = run(FOLDER / "read-a-run.ipynb")
    assert found["run"].summary["experiment"] == "made-up"
    assert set(found["requests"]["policy"]) == {"autoregressive", "speculative", "wanspec"}


@pytest.mark.slow
class TestAnswers:
    """What the answers claim in words is what their cells find."""

    def test_distance(self, kernel):
        found = run(FOLDER / "answers" / "what-distance-does.ipynb")
        assert found["break_even_ms"][0.6] < 10 < 20 < found["break_even_ms"][0.8]
        saved = found["by_match"]
        assert saved[0.6] < saved[0.8] < saved[0.9]
        assert found["by_distance"][1] > found["by_distance"][20] > found["by_distance"][80]

    def test_reading(self, kernel):
        found = run(FOLDER / "answers" / "read-a-run.ipynb")
        assert 4 < found["one_way"]["target0"]["drafter0"] < 8
        assert (found["busy"] <= 1).all()

    def test_wanspec(self, kernel):
        found = run(FOLDER / "answers" / "wanspec-step-by-step.ipynb")
        assert found["share"] > 0.5
        assert found["by_place"]["us-west-2"] < found["by_place"]["us-east-2"] < found["by_branches"][2]

    def test_wisp(self, kernel):
        found = run(FOLDER / "answers" / "wisp-scheduler-step-by-step.ipynb")
        assert found["members"](found["queue"]()) == [1, 3, 2, 5]
        assert found["members"](found["queue"](deadline_of_2=90))[0] == 2
        assert abs(found["largest"] - found["spare_ms"] / 0.4) <= 1
        assert (found["by_users"][160] < found["by_users"][12]).all()
        assert found["by_users"][160]["wisp"] < found["by_users"][160]["fcfs"]

    def test_policy(self, kernel):
        found = run(FOLDER / "answers" / "write-your-own-policy.ipynb")
        assert "lookup-broken" in found["said"]
        assert len(found["found"]) == 2
