"""The plugin `pytest-shaped` in a pytest of its own: what it marks, when it skips, when it fails; a real network."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from testbed.api.shaped import shaped_network
from testbed.errors import BadInput

ROOT = Path(__file__).parents[2]
NAME, MODULE = "pytest-shaped", "testbed.api.pytest_shaped"
TESTS = """
import pytest

def test_plain():
    pass

def test_far(shaped_network):
    network = shaped_network({"near": {"far": 20}})
    assert network["near"].run("getent hosts far").stdout.split()[1] == "far"
    assert 19 < network.rtt_ms("near", "far") < 30

@pytest.mark.shaped_fabric("netem", "lab")
def test_kernel(shaped_network):
    shaped_network("two-sites")
"""
WITHOUT = """
import testbed.api.shaped
from testbed.errors import MachineCannot

def find_fabric(fabric="auto"):
    raise MachineCannot("this machine lacks a TUN device; sudo modprobe tun")

testbed.api.shaped.find_fabric = find_fabric
"""


def pytest_of_its_own(folder: Path, *options: str) -> tuple[int, str]:
    """As where the testbed is installed: by its entry point, or where that is not there, by the module's name."""
    installed = any(one.name == NAME for one in importlib.metadata.entry_points(group="pytest11"))
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    words = ["-q", "-rA", "-p", "no:cacheprovider", "--strict-markers", *([] if installed else ["-p", MODULE])]
    command = [sys.executable, "-m", "pytest", *words, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout + done.stderr


def test_the_wheel_has_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {NAME: MODULE}


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    """It is loaded in every pytest of whoever has the testbed installed."""
    heavy = ("numpy", "pandas", "torch", "pydantic", "rich")
    code = f"import {MODULE}, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        ({"near": {"far": -1.0}}, "far"),
        ({"near": {"far": 10.0, "further": 20.0}}, "further"),
        ("two-sights", "two-sites"),
    ],
)
def test_what_is_no_network_is_refused_in_a_line(topology: object, words: str) -> None:
    with pytest.raises(BadInput) as refused, shaped_network(topology, fabric=("relay", "")):  # type: ignore[arg-type]
        raise AssertionError("it stands")
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.slow
def test_without_a_network_tests_are_skipped_with_the_reason_or_fail_where_they_must_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(WITHOUT)
    status, said = pytest_of_its_own(tmp_path)
    assert status == 0 and "1 passed, 2 skipped" in said
    assert "shaped_network: this machine lacks a TUN device; sudo modprobe tun" in said
    status, said = pytest_of_its_own(tmp_path, "--shaped-required")
    assert status == 1 and "1 passed, 2 errors" in said and "sudo modprobe tun" in said
    status, said = pytest_of_its_own(tmp_path, "-m", "not shaped")
    assert status == 0 and "1 passed, 2 deselected" in said


@pytest.mark.shaped
@pytest.mark.slow
def test_a_test_with_a_network(tmp_path: Path) -> None:
    status, said = pytest_of_its_own(tmp_path, "--shaped-fabric", "relay", "--shaped-required", "-k", "not kernel")
    assert status == 0 and "2 passed" in said, said
    status, said = pytest_of_its_own(tmp_path, "--shaped-fabric", "relay", "-k", "kernel")
    assert status == 0 and "1 skipped" in said and "netem and lab; here links are shaped by relay" in said, said
