"""Run directories: a run that cannot be published is refused before it starts; nothing of the user's is replaced."""

from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.results.rundir import partial_directory, publish


def refusal(out: Path) -> str:
    with pytest.raises(BadInput) as caught:
        partial_directory(out, "demo", "0123456789")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_finished_run_gets_its_name_a_second_one_a_number_and_latest_is_the_newest(tmp_path):
    out = tmp_path / "made" / "on demand"
    for name in ("demo-1", "demo-1.2"):
        partial = partial_directory(out, "demo", "1")
        assert partial.name.startswith("."), "a run in progress must not look like a result"
        assert publish(partial, out) == out / name
        assert (out / "latest").resolve() == (out / name).resolve()
    assert sorted(path.name for path in out.iterdir()) == ["demo-1", "demo-1.2", "latest"]


def test_what_a_failed_run_left_is_not_part_of_the_next(tmp_path):
    (partial_directory(tmp_path, "demo", "1") / "old.log").touch()
    assert list(partial_directory(tmp_path, "demo", "1").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_bad_input(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert refusal(out).startswith(f"--out {out}: ")


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path):
    assert "File name too long" in refusal(tmp_path / ("x" * 300))
    assert refusal(Path("/proc/no-such-folder")).startswith("--out /proc/no-such-folder: ")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_latest_that_is_no_link_is_refused_before_the_run_and_kept(tmp_path, kind):
    latest = tmp_path / "latest"
    latest.touch() if kind == "file" else latest.mkdir()
    assert f"{latest} is no link" in refusal(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_a_latest_that_points_nowhere_is_replaced(tmp_path):
    (tmp_path / "latest").symlink_to("run-that-was-deleted")
    final = publish(partial_directory(tmp_path, "demo", "1"), tmp_path)
    assert (tmp_path / "latest").resolve() == final.resolve()
