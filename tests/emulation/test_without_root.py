"""An ordinary user gets relay or lab in a user namespace, is told so, and leaves as little behind as root does.

As uid 65534 without any capability, by `tests/unprivileged.py`. Times are not judged: without real-time priority a
busy machine makes links invalid (exit 3), never wrong.
"""

from __future__ import annotations

import json
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.emulation.lock import lock_holder
from tests.emulation.leftovers import wait_until
from tests.run_examples import experiment, workload
from tests.unprivileged import NOBODY, Stage

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

LESS = {"workload": workload(2, 16), "policies": ["autoregressive", "wanspec"]}


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Not below pytest's own folder, which another session closes to everybody else whenever it starts."""
    with tempfile.TemporaryDirectory(prefix="testbed-stage-") as name:
        folder = Path(name)
        closed = [one for one in folder.parents if not one.stat().st_mode & stat.S_IXOTH]
        assert not closed, f"an ordinary user cannot enter {closed[0]}; set TMPDIR"
        yield Stage.at(folder)


def of_nobody() -> set[str]:
    """Processes of uid 65534 that are the testbed's."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if path.stat().st_uid == NOBODY and ("testbed" in words or "linux.uml" in words or "mininet:" in words):
                found.add(words)
        except OSError:
            continue
    return found


def left_behind(stage: Stage) -> list[str]:
    """What stands in nobody's state folder, runs excepted."""
    return sorted(path.name for path in (stage.home / ".local" / "state" / "wan-testbed").glob("*"))


@pytest.mark.parametrize(("fabric", "tun"), [("relay", True), ("lab", True), ("lab", False)])
def test_a_network_comes_up_in_a_user_namespace(stage: Stage, fabric: str, tun: bool) -> None:
    status, out, err = stage.run("probe", "two-sites", "--fabric", fabric, "--count", "40", "--json", tun=tun)
    assert status in (0, 3), err
    assert "not root: continuing in a user namespace" in err
    assert "no real-time priority" in err
    found = json.loads(out)
    rows = found["links"]
    assert [(row["src"], row["dst"]) for row in rows] == [("near", "far"), ("far", "near")]
    assert (found["fabric"], found["privilege"]) == (fabric, "user namespace")
    assert all(row["received"] == 40 and row["median_ms"] > 0.9 * row["specified_ms"] for row in rows)
    assert of_nobody() == set()
    assert left_behind(stage) == []


def test_where_tun_is_for_root_alone_lab_is_chosen_and_the_fix_said(stage: Stage) -> None:
    status, out, err = stage.run("doctor", "--json", tun=False)
    assert status == 0, err
    findings = json.loads(out)
    if "netem" in findings["qdiscs"] and findings["qdiscs"]["netem"]:
        pytest.skip("this kernel gives netem to user namespaces too, and that is chosen")
    assert findings["fabric"] == "lab"
    assert "chgrp testbed /dev/net/tun" in findings["fabric_reason"]
    status, _, err = stage.run("probe", "two-sites", "--fabric", "relay", tun=False)
    assert status == 4
    assert "chgrp testbed /dev/net/tun" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("fabric", ["relay", "lab"])
def test_a_whole_experiment_is_lossless_and_its_files_are_the_users(stage: Stage, fabric: str) -> None:
    """Invariants 1, 5, 6 without root."""
    experiment(stage.home, **LESS)
    status, out, err = stage.run("run", "small.yaml", "--fabric", fabric, "--json")
    assert status in (0, 3), err
    summary = json.loads(out)
    assert summary["lossless"] == {"checked": 4, "equal": 4, "kind": "checked"}
    assert summary["links"]["unmatched_packets"] == 0
    run = (stage.home / "runs" / "latest").resolve()
    assert json.loads((run / "manifest.json").read_text())["network"]["privilege"] == "user namespace"
    assert (run / "report.html").stat().st_uid == NOBODY
    assert of_nobody() == set()
    assert left_behind(stage) == []
    assert lock_holder() is None


def test_a_killed_run_is_cleaned_by_its_user(stage: Stage) -> None:
    experiment(stage.home, **LESS)
    process = stage.testbed("run", "small.yaml", "--fabric", "relay")
    wait_until(lambda: any("testbed.nodes" in words for words in of_nobody()))
    process.kill()
    process.communicate()
    (run,) = left_behind(stage)
    status, out, err = stage.run("clean")
    assert status == 0, err
    assert f"{run}: clean" in out
    assert left_behind(stage) == []
    assert of_nobody() == set()
    assert list((stage.home / "runs").iterdir()) == []
