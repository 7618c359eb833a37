"""The testbed's own engine is root's: everybody else is told so in one line, and nothing is touched."""

from __future__ import annotations

import pytest

from testbed.containers import daemon
from testbed.errors import MachineCannot


@pytest.mark.parametrize(("verb", "pid"), [(daemon.start, None), (daemon.stop, 4321), (daemon.remove, 4321)])
def test_an_ordinary_user_can_neither_start_nor_end_it(verb, pid, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.kill", lambda *_: pytest.fail("a signal was sent"))
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was started"))
    monkeypatch.setattr(daemon, "running", lambda place: pid)
    with pytest.raises(MachineCannot, match="private Docker daemon needs root"):
        verb()


def test_where_none_runs_there_is_nothing_to_stop(monkeypatch):
    monkeypatch.setattr(daemon, "running", lambda place: None)
    assert not daemon.stop()
