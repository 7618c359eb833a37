"""A run that cannot fit is refused before anything is made, in one line that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.emulation import means
from testbed.emulation.loads import loads, sharing
from testbed.emulation.means import Needs, Room
from testbed.errors import MachineCannot
from testbed.experiment.document import load_scenario
from testbed.experiment.scenario import MAX_EMULATED_NODES

FREE = Room(None, None, None)
NEEDS = Needs(nodes=250, descriptors=1064, tasks=1266, memory_mb=7000.0)


def test_a_run_that_fits_is_let_through() -> None:
    means.secure(NEEDS, FREE)
    means.secure(NEEDS, Room(1064, 1266, 7000.0))


@pytest.mark.parametrize(
    ("room", "says"),
    [
        (Room(1063, None, None), r"^place: 250 nodes need 1064 open files, the limit is 1063; raise it .*fewer nodes$"),
        (
            Room(None, 1265, None),
            r"^place: 250 nodes need 1266 processes and threads, only 1265 more .*fewer nodes$",
        ),
        (
            Room(None, None, 6999.0),
            r"^place: 250 nodes with their models need at least 6.8 GB of memory, 6.8 GB are free",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(room: Room, says: str) -> None:
    with pytest.raises(MachineCannot, match=says) as raised:
        means.secure(NEEDS, room)
    assert "\n" not in str(raised.value) and raised.value.exit_code == 4


def test_the_most_nodes_that_an_experiment_may_have_need_more_than_the_usual_limit() -> None:
    """Why the limit is lifted: 1024 is the soft limit of most systems."""
    assert 1024 < means.of_network(MAX_EMULATED_NODES).descriptors < 4096


def test_the_soft_limit_is_lifted_as_far_as_needed_and_what_is_beyond_the_hard_one_is_refused() -> None:
    """In its own process, as limits cannot be taken back."""
    code = """
import json, resource, sys
from testbed.emulation import means
from testbed.errors import MachineCannot
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 500))
room = means.Room(means.here().descriptors, None, None)
before = resource.getrlimit(resource.RLIMIT_NOFILE)
means.secure(means.of_network(10), room)
lifted = resource.getrlimit(resource.RLIMIT_NOFILE)
means.secure(means.of_network(1), room)
kept = resource.getrlimit(resource.RLIMIT_NOFILE)
try:
    means.secure(means.of_network(250), room)
except MachineCannot as error:
    print(json.dumps([before, lifted, kept, str(error)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, lifted, kept, said = json.loads(done.stdout)
    assert before == [100, 500] and lifted == kept == [means.of_network(10).descriptors, 500]
    assert "the limit is 500" in said


def test_models_count_once_a_worker_and_not_where_a_gpu_holds_them(experiment: Path) -> None:
    scenario = load_scenario(experiment, [])
    models = loads(scenario)
    own = means.of_run(models, sharing(models, in_containers=True), mapped=())
    shared = means.of_run(models, [[name for name in models if name.startswith("user")]], mapped=())
    mapped = means.of_run(models, sharing(models, in_containers=True), mapped={"tiny-draft", "tiny-target"})
    on_gpu = means.of_run(models, [], set(models), mapped=())
    assert own.memory_mb - shared.memory_mb > 5 * means.WORKER_MB
    assert own.memory_mb - mapped.memory_mb == pytest.approx(6 * means._weights_mb("tiny-draft"))
    assert own.memory_mb > on_gpu.memory_mb
    assert shared.descriptors - own.descriptors == 6 * means.SHARED_DESCRIPTORS


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Six users whose devices draft."""
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "name: fleet\ntopology: two-sites\nworkload: {prompts: prose, requests: 6, output_tokens: 4}\n"
        "models: {target: tiny-target, draft: tiny-draft}\n"
        "devices: {target: l40s/llama-3.1-8b, drafter: l40s/llama-3.2-1b}\n"
        "place: {user: {near: 6}, target: far}\npolicies: [sled]\n"
    )
    return path


def test_control_groups_of_both_versions_limit_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unified, split = tmp_path / "a" / "b", tmp_path / "memory" / "c"
    for folder in (unified, split):
        folder.mkdir(parents=True)
    for folder, files in {
        tmp_path / "a": {"pids.max": "90", "pids.current": "30", "memory.max": "max", "memory.current": "5"},
        unified: {"pids.max": "max", "pids.current": "7"},
        split: {
            "memory.limit_in_bytes": str(600 << 20),
            "memory.usage_in_bytes": str(500 << 20),
            "memory.stat": f"cache 1\ntotal_inactive_file {200 << 20}",
        },
    }.items():
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(means, "CGROUPS", tmp_path)
    read = means._lines
    monkeypatch.setattr(
        means, "_lines", lambda path: ["4:memory:/c", "0::/a/b"] if str(path) == "/proc/self/cgroup" else read(path)
    )
    assert 60 in list(means._tasks_left())
    assert 300.0 in list(means._memory_mb())
