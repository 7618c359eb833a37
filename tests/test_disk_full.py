"""A disk that fills in the middle is named in one line, nothing half is published, and what was finished is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import sweep_examples

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
# the check beforehand is left out: it would find what these tests are about
UNCHECKED = (
    "from testbed.files import whole as files; from testbed.results import rundir\n"
    "files.require_space = rundir.require_space = lambda *_: None\n"
    "from testbed.cli.entry import main; main()"
)

pytestmark = pytest.mark.slow  # a process each


def on_small_disk(folder: Path, size: str, script: str) -> subprocess.CompletedProcess[str]:
    """`script` in a folder whose `small` is a disk of that size; `$testbed` is the command, unchecked."""
    (folder / "small").mkdir(exist_ok=True)
    (folder / "unchecked.py").write_text(UNCHECKED)
    script = f'testbed="{sys.executable} unchecked.py"; mount -t tmpfs -o size={size} none small || exit 99; {script}'
    done = subprocess.run([*NAMESPACE, script], cwd=folder, capture_output=True, text=True, timeout=200)
    if done.returncode == 99:
        pytest.skip("this account gets no namespace in which to mount a small disk")
    return done


def complaints(said: str) -> list[str]:
    assert "Traceback" not in said, said
    return [line for line in said.splitlines() if line.startswith("testbed: ")]


def test_a_simulation_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = sweep_examples.experiment(tmp_path, matrix=None)
    script = f"$testbed run {path.name} --engine simulation --out small; status=$?; ls -A small; exit $status"
    done = on_small_disk(tmp_path, "32k", script)
    assert done.returncode == 4, done.stderr
    (line,) = complaints(done.stderr)
    assert line.startswith("testbed: small/.small-") and "no space left on device" in line
    assert done.stdout == ""


def test_a_sweep_keeps_the_points_it_has_finished_and_goes_on_where_there_is_room(tmp_path: Path) -> None:
    points = 16
    path = sweep_examples.experiment(tmp_path, matrix={"seed": list(range(points))})
    script = (
        f"$testbed sweep {path.name} --workers 1 --out small; first=$?; cat small/*/points.jsonl | wc -l;"
        f" mount -o remount,size=10m small; $testbed sweep {path.name} --workers 1 --out small --json > again;"
        " echo $first $?; ls -A small/*"
    )
    done = on_small_disk(tmp_path, "8k", script)
    kept, statuses, *left = done.stdout.splitlines()
    assert statuses == "4 0", done.stderr
    assert 0 < int(kept) < points
    (line,) = complaints(done.stderr)
    assert "points.jsonl: no space left on device" in line
    assert sorted(left) == ["points.jsonl", "sweep.csv", "sweep.json", "sweep.parquet"]
    assert f"{kept} of {points} points are already finished" in done.stderr
