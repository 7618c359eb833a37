"""The script that compiles in images, by every Python that an image may have. No engine is needed here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.files.datafiles import folders

SCRIPT = next(path for folder in folders("images") if (path := folder / "base/bytecode.py").is_file())
UNCHECKED_HASH = 1  # second word of a .pyc, PEP 552
VERSIONS = ("3.11", "3.12", "3.13")


def pythons() -> dict[str, str]:
    """Interpreters by version: the one that runs, what PATH has, and pyenv's, which PATH may only have as shims."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {"{}.{}".format(*sys.version_info): sys.executable}
    for version in VERSIONS:
        beside = [Path(folder, f"python{version}") for folder in os.environ["PATH"].split(os.pathsep)]
        for path in [*root.glob(f"versions/{version}.*/bin/python{version}"), *beside]:
            if path.is_file() and root / "shims" not in path.parents:
                found.setdefault(version, str(path))
    return found


PYTHONS = pythons()


def compiled(python: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=60)


def flags(folder: Path) -> dict[str, int]:
    """By module."""
    return {
        path.name.partition(".")[0]: int.from_bytes(path.read_bytes()[4:8], "little")
        for path in folder.rglob("__pycache__/*.pyc")
    }


@pytest.fixture
def package(tmp_path):
    for name in ("one", "two", "inner/three"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("x = 1\n")
    return tmp_path


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_everything_is_compiled_and_needs_no_check(package, python):
    done = compiled(python, "--every", package)
    assert (done.returncode, done.stderr) == (0, "")
    assert flags(package) == dict.fromkeys(("one", "two", "three"), UNCHECKED_HASH)


def test_a_template_of_a_package_is_left(package):
    (package / "template.py").write_text("class {{ name }}:\n")
    assert compiled(sys.executable, package).returncode == 0
    assert set(flags(package)) == {"one", "two", "three"}


def test_code_of_ours_that_does_not_compile_ends_the_build(package):
    (package / "two.py").write_text("class {{ name }}:\n")
    done = compiled(sys.executable, "--every", package)
    assert done.returncode == 1
    assert done.stderr == f"{package / 'two.py'} does not compile\n"
