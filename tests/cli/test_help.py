"""The way in: help of every verb, whole and fast; versions; completion in a shell."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli.main import app
from testbed.cli.reference.commandline import verbs
from testbed.files.datafiles import VERSION

VERBS = [verb.name.split()[1:] for verb in verbs(app)]
GROUPS = [[], *([name] for name in dict.fromkeys(words[0] for words in VERBS if len(words) == 2))]
HEAVY = ("torch", "transformers", "pandas", "numpy", "pyarrow", "pydantic", "matplotlib", "rich", "mininet", "yaml")
WIDTH = 80


def printed(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH)}).invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("words", [*GROUPS, *VERBS], ids=" ".join)
def test_help_fits_80_columns_and_cuts_no_sentence(words: list[str]) -> None:
    lines = printed(*words, "--help").splitlines()
    assert len(lines) > 4
    told = lines[lines.index("") :]  # after the usage, in which dots mean several
    assert [line for line in told if line.endswith("...") or len(line) > WIDTH] == []


@pytest.mark.parametrize("words", [[], ["models"], ["run"], ["policies", "list"]], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Which is what makes it fast: 0.12 s of CPU time, where rich alone took 0.1 s more."""
    heavy = HEAVY if not words else [name for name in HEAVY if name != "pydantic"]  # with which typer checks arguments
    code = (
        "import sys, atexit; from testbed.cli.entry import main; sys.argv = ['testbed', *sys.argv[1:], '--help']\n"
        f"atexit.register(lambda: print([name for name in {heavy} if name in sys.modules], file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"Usage: {' '.join(['testbed', *words])}")
    assert done.stderr.strip() == "[]"


def test_every_verb_that_takes_a_drafter_takes_prompt_lookup_and_says_so() -> None:
    taking = {
        verb.name: parameter.help for verb in verbs(app) for parameter in verb.parameters if parameter.name == "draft"
    }
    assert set(taking) == {"testbed models check", "testbed record"}  # tests/models/test_lookup.py goes through both
    assert all("prompt-lookup" in about for about in taking.values())


def test_versions_are_said_without_importing_the_libraries() -> None:
    before = "torch" in sys.modules
    line = printed("--version").strip()
    assert line == (
        f"testbed {VERSION} (Python {platform.python_version()}, torch {version('torch')}, "
        f"transformers {version('transformers')})"
    )
    assert ("torch" in sys.modules) is before


@pytest.fixture
def command(tmp_path: Path) -> dict[str, str]:
    """An environment in which `testbed` is this code."""
    script = tmp_path / "testbed"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m testbed "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(str(Path(one).resolve()) for one in sys.path)}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("testbed pol", {"policies"}),
        ("testbed run --fab", {"--fabric"}),
        ("testbed run --fabric ", {"auto", "netem", "lab", "relay"}),
        ("testbed run quick", {"quickstart"}),
        ("testbed probe two", {"two-sites"}),
        ("testbed metrics show tpo", {"tpot_ms"}),
        ("testbed sweep wanspec/fig8", {"wanspec/fig8-phi", "wanspec/fig8-phi-iid"}),
    ],
)
def test_bash_completes(command: dict[str, str], typed: str, offered: set[str]) -> None:
    script = f"""
        eval "$(testbed completion bash)"
        complete -p testbed | grep -q _testbed_completion || exit 9
        COMP_WORDS=({typed}{"''" if typed.endswith(" ") else ""})
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _testbed_completion testbed
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=command, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(command: dict[str, str], shell: str) -> None:
    script = printed("completion", shell)
    assert "_TESTBED_COMPLETE=complete_" + shell in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here; its script is typer's")
    check = subprocess.run([shell, "-n", "-c", script], capture_output=True, text=True, env=command, timeout=60)
    assert (check.returncode, check.stderr) == (0, "")
