"""What is installed is what was looked at: every pin has hashes, no index is named, and an SBOM lacks nothing."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", ".ci/audit.lock")


def load_components():
    spec = importlib.util.spec_from_file_location("components", ROOT / ".ci" / "components.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


components = load_components()


def entries(name: str) -> list[str]:
    """One string a pinned package: the line, and the lines that go on from it."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes_and_no_index_is_named(name):
    found = entries(name)
    assert len(found) > 40
    for entry in found:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert "://" not in (ROOT / name).read_text()


def test_a_package_has_the_hashes_of_all_its_files():
    """Of all Pythons and systems: one hash would be that of the machine the lock was made on."""
    (numpy,) = [entry for entry in entries("requirements.lock") if entry.startswith("numpy==")]
    assert numpy.count("--hash") > 20


def test_what_the_project_depends_on_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
        *project["optional-dependencies"]["docker"],
    ]
    pins = components.pinned((ROOT / "requirements.lock").read_text(), (ROOT / "setup.sh").read_text())
    for one in map(Requirement, wanted):
        assert one.specifier.contains(pins[components.canonical(one.name)], prereleases=True), one


def test_what_is_installed_and_recent_enough_is_not_replaced():
    """A user's CUDA build of PyTorch stays: dependencies are ranges, of which none names a version or an upper end."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {one.name: one.specifier for one in map(Requirement, dependencies)}
    assert {clause.operator for specifier in wanted.values() for clause in specifier} == {">="}
    assert wanted["torch"].contains("2.11.0+cu128")
    assert wanted["mininet"].contains("2.3.1b4")  # the distribution's and git's are newer than PyPI's


IMPORT_NAMES = {"pyyaml": "yaml", "vl-convert-python": "vl_convert"}  # where they differ


def test_what_is_depended_on_is_imported():
    """What nothing imports any more is only a download, and one more thing that has to fit a user's environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(one).name for one in [*project["dependencies"], *extras["docker"], *extras["fuzz"]]]
    text = "\n".join(path.read_text() for path in (ROOT / "testbed").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    assert not {name for name in wanted if IMPORT_NAMES.get(name, name) not in imported}


def test_set_up_takes_nothing_without_its_hash():
    assert "--require-hashes -r requirements.lock" in (ROOT / "setup.sh").read_text()


def test_an_sbom_that_lacks_a_package_or_names_another_version_is_found_out():
    pins = {"numpy": "2.0", "torch": "2.13.0", "typing-extensions": "4"}
    whole = {"components": [
        {"name": "numpy", "version": "2.0"},
        {"name": "torch", "version": "2.13.0+cpu"},
        {"name": "typing_extensions", "version": "4"},
    ]}  # fmt: skip
    assert components.differences(whole, pins) == []
    whole["components"][0]["version"] = "2.1"
    del whole["components"][2]
    assert components.differences(whole, pins) == [
        "numpy 2.0 is locked, the SBOM has 2.1",
        "typing-extensions 4 is locked, the SBOM has none",
    ]
