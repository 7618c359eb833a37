"""Unfinished attempts are listed and removed once they have ended; nothing that lives, and nothing of others' (5)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.files.whole import replacing
from testbed.results.attempts import find, prune, remove_scraps, unfinished
from testbed.results.rundir import CLAIM, attempting, publish
from testbed.results.store import FILES
from tests.in_process import testbed

IDENTITY = "0123456789"


def dead(out: Path) -> Path:
    """An attempt whose process is gone."""
    code = (
        "import os, sys; from pathlib import Path; from testbed.results.rundir import attempting\n"
        f"with attempting(Path(sys.argv[1]), 'demo', '{IDENTITY}', 1) as one:\n"
        "    (one.partial / 'old.log').touch(); print(one.partial, flush=True); os._exit(9)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
    assert said.returncode == 9
    return Path(said.stdout.strip())


def states(out: Path) -> dict[str, str]:
    return {one.path.name: one.state for one in find(out)}


def test_finished_ended_and_living_attempts_are_told_apart(tmp_path: Path) -> None:
    with attempting(tmp_path, "demo", IDENTITY, 1) as done:
        for name in FILES:
            (done.partial / name).write_text('{"experiment": "demo", "run_id": "x", "validity": {"valid": true}}')
        final = publish(done, FILES)
    lost = dead(tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / FILES[0]).touch()
    (tmp_path / "theirs").mkdir()
    with attempting(tmp_path, "demo", IDENTITY, 1) as live:
        expected = {
            final.name: "finished",
            lost.name: "unfinished",
            live.partial.name: "in progress",
            "half": "damaged",
        }
        assert states(tmp_path) == expected
        (found,) = unfinished(tmp_path)
        assert (found.path, found.experiment, found.run_id) == (lost, "demo", IDENTITY)
        assert prune(found) and not lost.exists()
        assert not prune(found), "it is gone by now"
    assert final.is_dir() and (tmp_path / "half").is_dir()


def test_an_attempt_that_has_come_to_life_since_it_was_listed_stays(tmp_path: Path) -> None:
    lost = dead(tmp_path)
    (found,) = unfinished(tmp_path)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(lost / CLAIM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline()
    assert not prune(found) and lost.is_dir()
    assert states(tmp_path) == {lost.name: "in progress"}
    holder.communicate()
    assert prune(found)


def test_folders_without_a_claim_must_be_named_by_us_and_old(tmp_path: Path) -> None:
    ours, young, theirs = (
        tmp_path / name for name in (f".demo-{IDENTITY}.partial", f".demo-{IDENTITY}-abcdef01.partial", ".film.partial")
    )
    for path in (ours, young, theirs):
        path.mkdir()
    for path in (ours, theirs):
        os.utime(path, (0, 0))
    assert [found.path for found in unfinished(tmp_path)] == [ours]
    (tmp_path / f".x-{IDENTITY}.partial").symlink_to(theirs)
    assert [found.path for found in unfinished(tmp_path)] == [ours]


def test_attempts_inside_sweeps_are_found(tmp_path: Path) -> None:
    lost = dead(tmp_path / "small-sweep-emulation" / "runs")
    assert [found.path for found in unfinished(tmp_path)] == [lost]


def test_scraps_of_single_files_go_and_others_stay(tmp_path: Path) -> None:
    with replacing(tmp_path / "sweep.csv") as partial:
        partial.touch()
        (tmp_path / ".film.partial").touch()
        remove_scraps(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".film.partial"]
        partial.touch()


def test_the_command_lists_and_prunes(tmp_path: Path) -> None:
    lost = dead(tmp_path)
    (listed,) = json.loads(testbed("runs", "list", "--out", tmp_path, "--json").stdout)["runs"]
    assert (listed["state"], listed["path"]) == ("unfinished", str(lost))
    assert "unfinished" in testbed("runs", "list", "--out", tmp_path).stdout
    assert testbed("runs", "prune", "--out", tmp_path, "--dry-run").stdout == f"would remove {lost}\n"
    assert lost.is_dir()
    assert testbed("runs", "prune", "--out", tmp_path).stdout == f"removed {lost}\n"
    assert testbed("runs", "prune", "--out", tmp_path).stdout == "nothing to prune\n"
    refused = testbed("runs", "list", "--out", tmp_path / "none")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{"])
def test_a_damaged_claim_is_no_error(tmp_path: Path, content: bytes) -> None:
    lost = dead(tmp_path)
    (lost / CLAIM).write_bytes(content)
    os.utime(lost, (0, 0))
    (found,) = unfinished(tmp_path)
    assert prune(found)
