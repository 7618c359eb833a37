"""The verb `completion`, and what a shell that was set up by it asks for: both are typer's, which knows every verb.

The printed script calls `testbed` with a variable set whenever Tab is pressed, so it never goes stale.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

PROGRAM, ASKED = "testbed", "_TESTBED_COMPLETE"  # the variable's name is how typer makes it of the program's


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def add_to(app: typer.Typer) -> None:
    app.command()(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that you use.")]) -> None:
    """Print a script for your shell that completes words with Tab.

    It completes verbs, options, their values and names of what ships.

    bash: `eval "$(testbed completion bash)"` in ~/.bashrc; zsh: the same with zsh in ~/.zshrc, after compinit; fish:
    `testbed completion fish | source` in ~/.config/fish/config.fish.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name=PROGRAM, complete_var=ASKED, shell=shell.value))


def prepare() -> None:
    """Where a shell asks for completions, typer is to answer in the way that its scripts expect."""
    if ASKED in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
