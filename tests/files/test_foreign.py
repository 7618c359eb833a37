"""Code that an experiment names never ends, questions or garbles the testbed; Ctrl-C still interrupts it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import BadInput
from testbed.files.foreign import foreign
from testbed.network.spec.topology import load_topology
from testbed.system.interrupt import interruptible

TOPO = "from mininet.topo import Topo\n\n\nclass Two(Topo):\n    def build(self, **_):\n        {}\n"
LINKED = 'self.addLink(self.addHost("h1"), self.addHost("h2"), delay="5ms")'


def load(tmp_path: Path, text: str, name: str = "Two") -> str:
    path = tmp_path / "file.py"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_topology(f"{path}:{name}")
    message = str(caught.value)
    assert "\n" not in message and "file.py" in message
    return message


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('hosts', type=int)\np.parse_args()",
         ":4: running it ended the program (SystemExit: 2)"),
        ("import sys\nsys.exit('good bye')", ":2: running it ended the program (SystemExit: good bye)"),
        ("raise KeyboardInterrupt", ":1: running it failed (KeyboardInterrupt"),
        ("name = input('your name? ')", ":1: running it failed (EOFError: it read from standard input"),
        ("import nothing_of_that_name", ":1: running it failed (ModuleNotFoundError"),
        ("def broken(:", ":1: running it failed (SyntaxError"),
        ("raise ValueError('a\\nb')", ":1: running it failed (ValueError: a b)"),
        ("def deep(): deep()\ndeep()", ":1: running it failed (RecursionError"),
    ],
)  # fmt: skip
def test_what_a_file_does_instead_of_defining_is_one_line(tmp_path: Path, start: str, says: str) -> None:
    """Case 08, exits.py, and its kind."""
    assert says in load(tmp_path, f"{start}\n{TOPO.format(LINKED)}")


def test_a_host_between_hosts_is_named(tmp_path: Path) -> None:
    """Case 08, router.py."""
    build = 'a, r, b = map(self.addHost, ("h1", "r1", "h2")); self.addLink(a, r); self.addLink(r, b)'
    assert "hosts do not forward, and r1 is a host: make it a switch with addSwitch" in load(
        tmp_path, TOPO.format(build)
    )


def test_topos_are_read_and_what_there_is_is_listed(tmp_path: Path) -> None:
    """Case 08, idiom.py."""
    text = TOPO.format(LINKED) + '\n\ntopos = {"mytopo": (lambda: Two())}\n'
    assert "it has Two, mytopo" in load(tmp_path, text, "other")
    assert load_topology(f"{tmp_path / 'file.py'}:mytopo").one_way_ms("h1", "h2") == 5.0


def test_what_it_prints_is_no_result_and_its_input_is_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.py"
    path.write_text("import os, sys\nprint('hello', sys.argv, os.read(0, 9))\n" + TOPO.format(LINKED))
    assert load_topology(f"{path}:Two").region_names == ["h1", "h2"]
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"hello ['{path}'] b''\n")


@pytest.mark.parametrize("options", ["cls='TCLink'", "params1=3", "delay=10**400", "bw=True", "delay=float('nan')"])
def test_options_of_no_kind_are_refused(tmp_path: Path, options: str) -> None:
    build = f'self.addLink(self.addHost("a"), self.addHost("b"), {options})'
    assert "link a - b: " in load(tmp_path, TOPO.format(build))


@pytest.fixture
def listening() -> Iterator[None]:
    """A shell starts background jobs, this session perhaps among them, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_ctrl_c_interrupts_it(tmp_path: Path) -> None:
    def press() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    code = compile("import time\nfor _ in range(200): time.sleep(0.05)", str(tmp_path / "slow.py"), "exec")
    threading.Thread(target=press).start()
    before = sys.argv, os.fstat(0)
    with pytest.raises(KeyboardInterrupt), interruptible(), foreign(tmp_path / "slow.py", "running it"):
        exec(code)
    assert (sys.argv, os.fstat(0).st_ino) == (before[0], before[1].st_ino)
