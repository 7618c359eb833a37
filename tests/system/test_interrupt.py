"""What goes wrong in a clean-up never hides why there was one."""

from __future__ import annotations

import pytest

from testbed.cli import main as cli
from testbed.errors import MachineCannot, RunInvalid
from testbed.system.interrupt import taking_down

DEAD = MachineCannot("the engine does not answer")


def ended_by(first: BaseException | None) -> None:
    """A run that `first` ended, or nothing did, and whose clean-up fails, twice in the same way."""
    try:
        try:
            if first is not None:
                raise first
        finally:
            with taking_down():
                raise DEAD
    finally:
        with taking_down():
            raise DEAD


def test_the_error_that_ended_a_run_is_raised_and_the_clean_ups_own_is_noted_once() -> None:
    with pytest.raises(RunInvalid, match="node a died") as caught:
        ended_by(RunInvalid("node a died"))
    assert caught.value.__notes__ == [f"while taking down: {DEAD}"]


@pytest.mark.parametrize("first", [None, KeyboardInterrupt()])
def test_after_an_orderly_run_or_an_interrupt_the_clean_ups_error_is_raised(first: BaseException | None) -> None:
    with pytest.raises(MachineCannot, match="does not answer"):
        ended_by(first)


def test_the_command_line_prints_both_and_exits_as_the_first_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda **_: ended_by(RunInvalid("node a died")))
    assert cli._status() == RunInvalid.exit_code
    assert capsys.readouterr().err == f"testbed: node a died\ntestbed: while taking down: {DEAD}\n"
