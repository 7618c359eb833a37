"""A simulated run as a user sees it: the run directory, the same bytes every time, and bad input in one line."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.experiment.progress import Silent
from testbed.results.store import RECORDS, load
from testbed.simulation.engine import Options, run
from tests.simulation.made_up import POLICIES, decode_table, scenario


class Counting(Silent):
    def __init__(self):
        self.phases, self.tokens = [], 0

    def phase(self, label, repeat, requests):
        self.phases.append((label, repeat, requests))

    def request_done(self, tokens):
        self.tokens += tokens


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "made-up.parquet"
    decode_table(0.7).write(path)
    return path


@pytest.mark.slow
def test_a_run_leaves_what_an_emulated_run_leaves(tmp_path, table):
    progress = Counting()
    outcome = run(scenario(*POLICIES, repeats=2), Options(tmp_path / "runs", str(table)), progress)
    names = {path.name for path in outcome.directory.iterdir()}
    assert names >= {f"{kind}.parquet" for kind in RECORDS} | {"manifest.json", "summary.json", "report.html"}
    assert (tmp_path / "runs" / "latest").resolve() == outcome.directory.resolve()
    assert outcome.summary["validity"] == {"valid": True, "reasons": [], "advice": []}
    assert outcome.summary["lossless"] == {"checked": 24, "equal": 24, "kind": "recorded"}
    assert outcome.summary["engine"] == outcome.manifest["engine"] == "simulation"
    assert outcome.manifest["table"] == {"name": "made-up", "sha256": decode_table(0.7).sha256, "synthetic": True}
    assert len(progress.phases) == 6 and progress.tokens == 24 * 60
    assert json.loads((outcome.directory / "summary.json").read_text()) == outcome.summary


@pytest.mark.usefixtures("without_page")
def test_links_are_said_to_be_specified_not_measured(tmp_path, table):
    outcome = run(scenario("autoregressive"), Options(tmp_path, str(table)), Silent())
    links = load(outcome.directory).links
    assert len(links) == 6 and set(links["phase"]) == {"specified"}
    assert (links["median_ms"] == links["specified_ms"]).all() and not links["received"].any()
    assert outcome.summary["links"]["worst_median_error_ms"] is None  # undefined, not 0


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.simulation.made_up import POLICIES, scenario
from tests.simulation.test_engine import Silent
from testbed.simulation.engine import Options, simulate
from testbed.simulation.engine import run
assert not {"torch", "transformers", "mininet", "pyroute2"} & set(sys.modules), "too much was imported"
print(run(scenario(*POLICIES, repeats=2), Options(Path(sys.argv[1]), sys.argv[2]), Silent()).directory)
assert "torch" not in sys.modules, "a simulation needs no torch"
"""


@pytest.mark.slow
def test_one_seed_gives_the_same_bytes_in_every_process(tmp_path, table):
    """Invariant 3, with another hash seed, another time and another directory. Also: torch is never imported."""
    digests = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / seed), str(table), str(Path(__file__).parents[2])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        directory = Path(done.stdout.strip())
        digests.append(
            {kind: hashlib.sha256((directory / f"{kind}.parquet").read_bytes()).digest() for kind in RECORDS}
        )
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": {"target": "native", "drafter": "l40s/llama-3.2-1b"}}, "devices.target.*device profile"),
        ({"devices": {}}, "native"),
        ({"output_tokens": 61}, "60 output tokens.*testbed record"),
        ({"requests": 5}, "holds 4"),
        ({"place": {"user": "near", "target": "nowhere", "drafter": "far"}}, "nowhere"),
        (
            {"workload": {"prompts": "made-up", "requests": 1, "output_tokens": 9, "sampling": {"temperature": 1.0}}},
            "greedy",
        ),
    ],
    ids=["native target", "native by default", "short table", "few prompts", "no such site", "sampled"],
)
def test_what_cannot_be_simulated_is_refused_and_leaves_nothing(tmp_path, table, changes, words):
    with pytest.raises(BadInput, match=words):
        run(scenario("autoregressive", **changes), Options(tmp_path / "runs", str(table)), Silent())
    assert not (tmp_path / "runs").exists()


def test_without_a_fitting_table_the_message_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = scenario("autoregressive", workload={"prompts": "prose", "requests": 1, "output_tokens": 4096},
                    models={"target": "tiny-draft", "draft": "tiny-draft"})  # fmt: skip
    with pytest.raises(BadInput, match="testbed record --target tiny-draft --draft tiny-draft --prompts prose"):
        run(made, Options(tmp_path / "runs"), Silent())


def test_a_policy_that_leaves_the_table_is_refused_by_prompt_and_position(tmp_path, table):
    made = scenario({"speculative": {"k": 30}})
    with pytest.raises(BadInput, match=r"prompt 'p\d'.*position \d+.*depth"):
        run(made, Options(tmp_path / "runs", str(table)), Silent())
