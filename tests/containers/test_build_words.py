"""What is said when a build fails: the engine's words, after the command's own; no engine is needed here."""

from __future__ import annotations

import pytest

from testbed.containers import build
from testbed.errors import MachineCannot

MEND = "; --base takes another"
FITS = 'RUN ["python3", "/opt/testbed/build/fits.py"]'
IMPORTS = 'RUN ["python3", "-c", "import msgspec, numpy"]'
BYTECODE = 'RUN ["python3", "/opt/testbed/build/bytecode.py", "stdlib"]'
KILLED = "The command 'python3' returned a non-zero code: 137"
FULL = "write /opt/testbed/lib/torch: no space left on device"


def stderr(words: str) -> str:
    """As the engine colours it."""
    return f"\x1b[91m{words}\n\x1b[0m"


def said(step: str, error: str, *streams: str) -> str:
    what = build._Build(b"", [], "python:3-slim", {}, {}, MEND)
    lines = [{"stream": f"Step 7/10 : {step}\n"}, *({"stream": one} for one in streams), {"error": error}]
    with pytest.raises(MachineCannot) as raised:
        build._listen(lines, "base", what, lambda note: None)
    return str(raised.value).removeprefix("images build: base on python:3-slim: ")


def test_a_warning_does_not_hide_that_the_command_was_killed():
    assert said(IMPORTS, KILLED, stderr("a warning"), "on stdout") == f"a warning: {KILLED}{MEND}"


@pytest.mark.parametrize("step", [FITS, IMPORTS])
def test_another_base_is_the_fix_where_the_base_is_judged(step):
    assert said(step, "exec: not found") == f"exec: not found{MEND}"


@pytest.mark.parametrize("step", ["COPY torch/ /opt/testbed/lib/", "COPY fits.py /", BYTECODE])
def test_no_other_base_is_offered_for_what_is_not_its_fault(step):
    assert said(step, FULL) == FULL


def test_words_of_an_earlier_step_are_not_put_before_a_failure():
    earlier = stderr("a warning"), f"Step 8/10 : {BYTECODE}\n"
    assert said(FITS, KILLED, *earlier) == KILLED
