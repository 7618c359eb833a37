"""Python files that travel by content: their texts decide, what they import next to them comes along or is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.files.pyfile import MAX_BYTES, PythonFile


def write(folder: Path, **texts: str) -> Path:
    """`folder/main.py`, with the others next to it."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "main.py"


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        PythonFile.read(path).module()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_text_that_was_read_is_what_runs(tmp_path: Path) -> None:
    path = write(
        tmp_path, main="import helper\nVALUE = helper.VALUE", helper="from other import VALUE", other="VALUE = 7"
    )
    file = PythonFile.read(path)
    path.write_text("VALUE = 8")
    for name in ("helper", "other"):
        (tmp_path / f"{name}.py").unlink()
    assert list(file.texts) == ["main.py", "helper.py", "other.py"]
    assert file.get("VALUE", int, "a number") == 7
    assert PythonFile(file.texts).get("VALUE", int, "a number") == 7  # as in another process, where no file is
    assert PythonFile.read(path).get("VALUE", int, "a number") == 8


def test_files_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / one, main="import helper\nVALUE = helper.VALUE", helper=f"VALUE = '{one}'") for one in "ab"
    ]
    assert [PythonFile.read(path).get("VALUE", str, "a text") for path in paths] == ["a", "b"]
    assert "helper" not in sys.modules


def test_the_hash_covers_what_is_imported(tmp_path: Path) -> None:
    path = write(tmp_path, main="import helper", helper="VALUE = 1")
    first = PythonFile.read(path).sha256
    write(tmp_path, helper="VALUE = 2")
    assert PythonFile.read(path).sha256 != first
    path.write_text("VALUE = 1\n")
    assert PythonFile.read(path).sha256 == hashlib.sha256(b"VALUE = 1\n").hexdigest()


def test_classes_of_every_kind_find_their_module(tmp_path: Path) -> None:
    """Dataclasses, pydantic and msgspec look a class's module up by name to read its annotations."""
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport msgspec, pydantic\n"
        "class Number(int):\n    pass\n"
        "@dataclass\nclass A:\n    x: Number\n"
        "class B(pydantic.BaseModel):\n    model_config = {'arbitrary_types_allowed': True}\n    x: Number\n"
        "class C(msgspec.Struct):\n    x: list[int]\n"
        "VALUE = (B(x=Number(1)).x, msgspec.json.decode(b'{\"x\": [2]}', type=C).x)\n"
    )
    assert PythonFile.read(write(tmp_path, main=text)).get("VALUE", tuple, "a pair") == (1, [2])


def test_a_traceback_shows_the_line(tmp_path: Path) -> None:
    file = PythonFile.read(write(tmp_path, main="def fail():\n    raise ValueError('here')  # the line\n"))
    program = (
        "import json, sys, traceback\nfrom testbed.files.pyfile import PythonFile\n"
        "try:\n    PythonFile(json.loads(sys.argv[1])).module().fail()\nexcept ValueError:\n    traceback.print_exc()\n"
    )
    import json

    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(dict(file.texts))], capture_output=True, text=True, check=True
    )
    assert 'File "main.py", line 2' in done.stderr and "# the line" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import folder", "main.py:1: imports folder, a folder next to it"),
        ("x = 1\nfrom .helper import x", "main.py:2: a relative import has no package here; write `import helper`"),
        ("import helper.deeper", "main.py:1: running it failed (ModuleNotFoundError"),
        ("import importlib\nimportlib.import_module('helper')", "main.py:2: running it failed (ModuleNotFoundError"),
        ("import broken", "main.py:1: running it failed (ZeroDivisionError"),
        ("def broken(:", "main.py:1: running it failed (SyntaxError"),
        ("#" * (MAX_BYTES + 1), "main.py: has"),
    ],
)
def test_what_cannot_travel_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    assert says in refused(write(tmp_path, main=text, helper="VALUE = 1", broken="1 / 0"))


def test_what_failed_once_runs_again(tmp_path: Path) -> None:
    path = write(tmp_path, main="import helper", helper="1 / 0")
    for _ in range(2):
        assert "ZeroDivisionError" in refused(path)


def test_an_object_of_another_kind_is_named(tmp_path: Path) -> None:
    file = PythonFile.read(write(tmp_path, main="A = 1\nB = 'text'"))
    for name, says in (("B", "is not a number; it has A"), ("C", "no object has that name; it has A")):
        with pytest.raises(BadInput, match=says):
            file.get(name, int, "a number")
