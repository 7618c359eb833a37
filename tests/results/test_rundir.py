"""Run directories: refused before the run, never shared, published whole; nothing of the user's is replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from testbed.errors import BadInput, RunInvalid
from testbed.results.rundir import CLAIM, attempting, publish

ROOM = 1
FILE = "result"
EDGE = {
    "name": "edge",
    "topology": "two-sites",
    "workload": {"prompts": "prose", "requests": 2, "arrivals": "sequential", "output_tokens": 8},
    "models": {"target": "tiny-target", "draft": "tiny-draft"},
    "devices": {"target": "l40s/llama-3.1-8b", "drafter": "l40s/llama-3.2-1b"},
    "place": {"user": "near", "target": "near", "drafter": "far"},
    "policies": ["autoregressive", {"speculative": {"k": 2}}],
    "seed": 7,
}


def refusal(out: Path, needed: int = ROOM) -> str:
    with pytest.raises(BadInput) as caught, attempting(out, "demo", "0123456789", needed):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def finish(out: Path, identity: str = "1") -> Path:
    with attempting(out, "demo", identity, ROOM) as attempt:
        (attempt.partial / FILE).touch()
        return publish(attempt, [FILE])


def test_a_finished_run_gets_its_name_a_second_one_a_number_and_latest_is_the_newest(tmp_path: Path) -> None:
    out = tmp_path / "made" / "on demand"
    for name in ("demo-1", "demo-1.2"):
        assert finish(out) == out / name
        assert (out / "latest").resolve() == (out / name).resolve()
        assert [path.name for path in (out / name).iterdir()] == [FILE]
    assert sorted(path.name for path in out.iterdir()) == ["demo-1", "demo-1.2", "latest"]


def test_two_attempts_at_one_run_never_meet(tmp_path: Path) -> None:
    with attempting(tmp_path, "demo", "1", ROOM) as first, attempting(tmp_path, "demo", "1", ROOM) as second:
        assert first.partial != second.partial and first.name != second.name
        for one in (first, second):
            assert one.partial.name.startswith("."), "a run in progress must not look like a result"
            (one.partial / FILE).write_text(one.name)
        finals = publish(second, [FILE]), publish(first, [FILE])
    assert [final.name for final in finals] == ["demo-1", "demo-1.2"]
    assert [(final / FILE).read_text() for final in finals] == [second.name, first.name]


def test_a_folder_that_lacks_a_file_is_not_published(tmp_path: Path) -> None:
    with attempting(tmp_path, "demo", "1", ROOM) as attempt:
        (attempt.partial / FILE).touch()
        with pytest.raises(RunInvalid, match=r"manifest\.json missing"):
            publish(attempt, [FILE, "manifest.json"])
    assert [path.name for path in tmp_path.iterdir()] == [attempt.partial.name]


def test_a_folder_of_somebody_elses_with_the_runs_name_is_kept(tmp_path: Path) -> None:
    (tmp_path / "demo-1").mkdir()  # empty: rename(2) alone would replace it
    (tmp_path / "demo-1.2").write_text("mine")
    assert finish(tmp_path).name == "demo-1.3"
    assert list((tmp_path / "demo-1").iterdir()) == []
    assert (tmp_path / "demo-1.2").read_text() == "mine"


def test_an_attempt_that_fails_leaves_its_folder_and_the_next_has_another(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), attempting(tmp_path, "demo", "1", ROOM) as first:
        (first.partial / "old.log").touch()
        raise RuntimeError
    with attempting(tmp_path, "demo", "1", ROOM) as second:
        assert [path.name for path in second.partial.iterdir()] == [CLAIM]
    assert (first.partial / "old.log").exists()


def test_a_file_in_the_place_of_the_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert refusal(out).startswith(f"--out {out}: ")


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    assert "File name too long" in refusal(tmp_path / ("x" * 300))
    assert refusal(Path("/proc/no-such-folder")).startswith("--out /proc/no-such-folder: ")


def test_a_disk_without_room_is_bad_input(tmp_path: Path) -> None:
    assert refusal(tmp_path, 1 << 60).startswith(f"--out {tmp_path}: no space left on device (")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_latest_that_is_no_link_is_refused_before_the_run_and_kept(tmp_path: Path, kind: str) -> None:
    latest = tmp_path / "latest"
    latest.touch() if kind == "file" else latest.mkdir()
    assert f"{latest} is not a link" in refusal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_a_latest_that_points_nowhere_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("run-that-was-deleted")
    final = finish(tmp_path)
    assert (tmp_path / "latest").resolve() == final.resolve()


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    (folder / "edge.yaml").write_text(yaml.safe_dump(EDGE, sort_keys=False))
    command = [sys.executable, "-m", "testbed", "run", "edge.yaml", "--engine", "simulation", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_simulations_of_one_experiment_side_by_side_all_end_whole(tmp_path: Path) -> None:
    at_once = 2
    for process in [started(tmp_path, "--out", "runs", "--json") for _ in range(at_once)]:
        _, complaints = process.communicate(timeout=200)
        assert process.returncode == 0, complaints
    runs = tmp_path / "runs"
    finished = sorted(path for path in runs.iterdir() if not path.is_symlink())
    assert len(finished) == at_once
    assert not any(path.name.startswith(".") for path in finished)
    contents = [{path.name: path.read_bytes() for path in run.iterdir()} for run in finished]
    assert {"report.html", "manifest.json", "summary.json", "requests.parquet"} <= set(contents[0])
    assert all(one == contents[0] for one in contents), "one seed, one simulation (invariant 3)"
    assert (runs / "latest").resolve() in [path.resolve() for path in finished]


@pytest.mark.slow
def test_a_full_disk_is_named_before_anything_is_run(tmp_path: Path) -> None:
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = "mount -t tmpfs -o size=48k none small && exec $0 -m testbed run edge.yaml --engine simulation --out small"
    (tmp_path / "small").mkdir()
    if subprocess.run([*mount, "mount -t tmpfs none small"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("this account gets no namespace in which to mount a small disk")
    (tmp_path / "edge.yaml").write_text(yaml.safe_dump(EDGE, sort_keys=False))
    done = subprocess.run([*mount, script, sys.executable], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("testbed: ")]
    assert line.startswith("testbed: --out small: no space left on device")
    assert "Traceback" not in done.stderr
