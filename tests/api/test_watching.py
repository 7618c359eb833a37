"""Progress: silent when asked, one output in a notebook, lines elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import testbed as tb
from testbed.api.watching import in_notebook, watching
from tests.run_examples import SMALL


class Kernel:
    """What a notebook gives a program: a shell with a kernel, and outputs that can be updated."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.outputs = 0

    def display(self, what: Any, display_id: bool) -> Kernel:
        assert display_id
        self.outputs += 1
        self.update(what)
        return self

    def update(self, what: Any) -> None:
        self.shown.append(what._repr_html_())


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    shell, display = ModuleType("IPython"), ModuleType("IPython.display")
    shell.get_ipython = lambda: SimpleNamespace(kernel=kernel)  # type: ignore[attr-defined]
    display.display = kernel.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return kernel


def test_silence_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tb.simulate(SMALL, out=tmp_path, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("without_page")
def test_lines_without_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tb.simulate(SMALL, out=tmp_path)
    out, err = capfd.readouterr()
    assert out == "" and "wanspec: 3 requests" in err


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_one_output_in_a_notebook(tmp_path: Path, kernel: Kernel, capfd: pytest.CaptureFixture[str]) -> None:
    assert in_notebook()
    tb.simulate(SMALL, out=tmp_path)
    assert kernel.outputs == 1
    assert kernel.shown[0].endswith("<code>starting</code>")
    assert "<progress value=9 max=9>" in kernel.shown[-1]
    assert any("wanspec: 3 requests" in one for one in kernel.shown)
    assert capfd.readouterr() == ("", "")
    with watching(True) as watcher:
        watcher.note("<b>")
    assert kernel.shown[-1] == "<code>&lt;b&gt;</code>"
