"""Files appear whole or not at all, and a disk that cannot take them is named in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from testbed.errors import BadInput, MachineCannot
from testbed.files import whole as files
from testbed.files.whole import DiskFull, check_file, check_folder, rename_new, replacing, require_space


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["table"]


def test_two_writers_of_one_file_have_a_name_each_and_the_last_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            assert first != second
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "no space left on device"), (errno.EDQUOT, "disk quota")])
def test_a_disk_that_fills_is_the_machines_fault_and_names_the_file(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(DiskFull, match=f"{tmp_path / 'table'}: {said}") as caught, replacing(tmp_path / "table"):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value, MachineCannot) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_other_reasons_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no-such/table: cannot be written"), replacing(tmp_path / "no-such" / "table"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")


@pytest.mark.parametrize("by_kernel", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_renaming_never_replaces(tmp_path: Path, kind: str, by_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not by_kernel:
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    source, taken, free = tmp_path / "source", tmp_path / "taken", tmp_path / "free"
    for path in (source, taken):
        path.mkdir() if kind == "folder" else path.touch()
    with pytest.raises(FileExistsError):
        rename_new(source, taken)
    rename_new(source, free)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["free", "taken"]


def test_room_is_asked_of_the_disk_where_the_folder_will_be(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there", 1)
    with pytest.raises(BadInput, match="no space left on device"):
        require_space(tmp_path / "not" / "there", 1 << 60)


def test_what_a_full_disk_has_led_to_is_blamed_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.blame_disk(tmp_path, RuntimeError("something else"))
    monkeypatch.setattr(files, "LEAST_ROOM", 1 << 60)
    with pytest.raises(DiskFull, match=r"no space left on device.*ended with: a probe broke") as caught:
        files.blame_disk(tmp_path, RuntimeError("a probe broke\nand more"))
    assert "\n" not in str(caught.value)
    files.blame_disk(tmp_path, DiskFull("says so itself"))


def test_checks_leave_nothing(tmp_path: Path) -> None:
    check_file(tmp_path / "file")
    check_folder(tmp_path / "made" / "deep")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "deep"]


def test_checks_refuse_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for check, path, said in (
        (check_file, tmp_path, "is a folder"),
        (check_file, tmp_path / "no" / "file", "create it first"),
        (check_file, Path("/proc/file"), "/proc"),
        (check_folder, tmp_path / "file", "cannot be written"),
    ):
        with pytest.raises(BadInput, match=said) as caught:
            check(path)
        assert "\n" not in str(caught.value)
