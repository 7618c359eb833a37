"""What nobody's input brought: the system's errors in one line, a defect said to be one, terminals of any encoding."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.output import console
from testbed.cli.unexpected import DEFECT, explained
from testbed.errors import MachineCannot

COMMAND = [sys.executable, "-c", "from testbed.cli.entry import main; main()"]
TOPOLOGY = """\
name: t
description: d
source: {citation: own, licence: none}
measured_on: 2026-01-01
regions:
  - {name: Köln, provider: x}
  - {name: 東京, provider: x}
symmetric: true
intra_site_rtt_ms: 1.0
rtt_ms:
  Köln: {東京: 20.0}
"""


def command(*arguments: str, encoding: str = "utf-8", **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, *arguments], env=environment, capture_output="stdout" not in options, check=False, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_signs_gets_others_and_the_same_status(tmp_path: Path, encoding: str) -> None:
    """Case 49."""
    path = tmp_path / "uni.yaml"
    path.write_text(TOPOLOGY, encoding="utf-8")
    done = command("topology", "show", str(path), encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"20.00" in done.stdout and ("Köln" if encoding != "ascii" else "K?ln").encode(encoding) in done.stdout


def test_an_output_that_is_full_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = command("topology", "list", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == MachineCannot.exit_code
    assert done.stderr.decode().splitlines() == [
        "testbed: output: no space left on device; free some space, or write to another disk"
    ]


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone}; exec {sys.executable} -c 'from testbed.cli.entry import main; main()' doctor"
    done = subprocess.run(
        ["sh", "-c", script], cwd=gone, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(one).resolve()) for one in sys.path if one)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        MachineCannot.exit_code,
        "testbed: the current folder no longer exists; change to another one\n",
    )


def test_an_error_of_the_system_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    status = explained(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/some/file"))
    assert (status, capsys.readouterr().err) == (MachineCannot.exit_code, "testbed: /some/file: Permission denied\n")
    assert explained(MemoryError()) == MachineCannot.exit_code
    assert capsys.readouterr().err.count("\n") == 1


def test_a_defect_says_that_it_is_one_before_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("nothing of the user's")
    except KeyError as error:
        assert explained(error) == DEFECT
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("testbed: this is a bug in the testbed, not in your input (KeyError: ")
    assert "please report" in first and rest[0].startswith("Traceback")


@pytest.mark.parametrize("name", ["x[bold]", "x[/y]", ":smile:", "[link=http://x]"])
def test_a_name_is_never_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    console().print(table)
    console().print(f"report: {name}")
    assert capsys.readouterr().out.count(name) == 4
