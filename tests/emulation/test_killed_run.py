"""kill -9 at any moment: `testbed clean` removes all that the dead run made, and nothing of a run that is alive.

Invariant 5. What is killed is the run's own process only; everything else has to notice, or be found by the journal.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from testbed.bench.kill import ORPHANS_S
from testbed.wire.tcp import CONNECT_S
from tests.emulation.leftovers import lock_is_free, remains, wait_until
from tests.run_examples import command, experiment, workload

pytestmark = [pytest.mark.shaped, pytest.mark.slow]


class Run:
    """One `testbed run` in its own folder, with what it has said so far."""

    def __init__(self, folder: Path, *overrides: str, requests: int = 3) -> None:
        folder.mkdir()
        path = experiment(folder, workload=workload(requests), policies=["autoregressive"])
        self.folder = folder
        self._said = (folder / "stderr").open("w")
        options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": self._said}
        self.process = command("run", path, *overrides, **options)

    @property
    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    def says(self, words: str) -> None:
        wait_until(lambda: words in self.said or self.process.poll() is not None, 120)
        assert words in self.said, self.said

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._said.close()

    def results(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "runs").iterdir())


def clean() -> str:
    cleaning = command("clean")
    out, err = cleaning.communicate(timeout=60)
    assert cleaning.returncode == 0, err
    return str(out)


@pytest.mark.parametrize(
    ("moment", "fabric"),
    [
        ("bringing up and measuring the network", "relay"),
        ("bringing up and measuring the network", "lab"),
        ("starting 3 nodes", "lab"),
        ("starting 3 nodes", "relay"),
        ("a pilot of every policy", "relay"),
        ("autoregressive: 3 requests", "relay"),
        ("measuring the links again", "relay"),
        ("comparing every output", "relay"),
    ],
)
def test_clean_removes_what_a_killed_run_made(tmp_path: Path, moment: str, fabric: str) -> None:
    before = remains()
    run = Run(tmp_path / "a", "--fabric", fabric)
    try:
        run.says(moment)
    finally:
        run.kill()
    assert ORPHANS_S < CONNECT_S  # so that no timeout of a dial can have been waited for
    wait_until(lambda: remains()["processes"] == before["processes"], ORPHANS_S)
    assert lock_is_free()
    assert "clean" in clean()
    assert remains() == before
    assert run.results() == []
    assert clean() == "nothing to clean\n"


def test_clean_leaves_a_run_alone_that_is_alive(tmp_path: Path) -> None:
    before = remains()
    dead = Run(tmp_path / "dead", "--fabric", "relay")
    try:
        dead.says("starting 3 nodes")
    finally:
        dead.kill()
    alive = Run(tmp_path / "alive", "seed=2", "--fabric", "relay", requests=12)
    try:
        alive.says("autoregressive: 12 requests")
        mine = remains()
        report = clean()
        assert report.count(": still running, skipped") == 1
        assert report.count(": clean") == 1
        assert remains()["processes"] == mine["processes"]
        assert dead.results() == []
        assert alive.process.wait(120) in (0, 3), alive.said
    finally:
        alive.kill()
    assert (alive.folder / "runs" / "latest" / "summary.json").is_file()
    assert remains() == before
