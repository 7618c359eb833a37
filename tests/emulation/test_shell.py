"""Mininet's command line is at home in our network: its commands work, fail with a status, and kill nothing by name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulation.leftovers import remains
from tests.run_examples import command, experiment

pytestmark = [pytest.mark.shaped, pytest.mark.slow]

TOPO = """\
from mininet.topo import Topo


class Star(Topo):
    def build(self, **_):
        s1 = self.addSwitch("s1")
        for name, delay in (("h1", "4ms"), ("h2", "6ms"), ("h3", "11ms")):
            self.addLink(self.addHost(name), s1, delay=delay)
"""


@pytest.fixture
def topo(tmp_path: Path) -> Iterator[str]:
    """A Mininet Topo, as `--topology` takes it; and nothing may be left after the test."""
    path = tmp_path / "star.py"
    path.write_text(TOPO)
    before = remains()
    yield f"{path}:Star"
    assert remains() == before


def shell(what: str, *commands: str, stdin: str | None = None) -> tuple[int, str]:
    """Exit status, and all that was said."""
    given = [word for one in commands for word in ("-c", one)]
    process = command(
        "shell", what, "--fabric", "relay", *given, stderr=subprocess.STDOUT, stdin=subprocess.PIPE if stdin else None
    )
    out, _ = process.communicate(stdin, timeout=120)
    return process.returncode, str(out)


def times_ms(said: str) -> dict[str, float]:
    """Average round trip by pair, as pingallfull prints it."""
    found = re.findall(r"(\w+)->(\w+): 1/1, rtt min/avg/max/mdev [\d.]+/([\d.]+)/", said)
    return {f"{a}-{b}": float(ms) for a, b, ms in found}


def test_pingall_over_a_custom_topo_meets_its_delays(topo: str) -> None:
    process = command("pingall", topo, "--fabric", "relay", stderr=subprocess.STDOUT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    shown = times_ms(str(said))
    assert len(shown) == 6
    for pair, rtt_ms in {"h1-h2": 20, "h2-h1": 20, "h1-h3": 30, "h2-h3": 34}.items():
        assert rtt_ms - 0.5 < shown[pair] < rtt_ms + 20, said


def test_commands_run_at_nodes_by_name_and_give_their_status(topo: str) -> None:
    status, said = shell(topo, "nodes", "h1 ping -c 1 h2", "h1 sh -c 'exit 7'", "h1 echo never")
    assert status == 7, said
    assert "available nodes are" in said and "h1 h2 h3" in said
    assert "1 received" in said
    assert "never" not in said


def test_a_cut_link_loses_pings_and_that_is_a_failure_until_it_is_restored(topo: str) -> None:
    status, said = shell(topo, "link h1 h2 down", "pingall 2")
    assert status == 3, said
    assert "h1 -> X h3" in said and "h2 -> X h3" in said
    status, said = shell(topo, "link h1 h2 down", "link h1 h2 up", "pingall 2")
    assert status == 0, said


def test_iperf_measures_and_kills_nobodys_iperf(topo: str, tmp_path: Path) -> None:
    """Mininet's own runs `killall -9 iperf`, on the whole machine."""
    bystander = tmp_path / "iperf"
    bystander.write_text("#!/bin/sh\nsleep 60\n")
    bystander.chmod(0o755)
    process = subprocess.Popen([bystander])
    try:
        status, said = shell(topo, "iperf h1 h2")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert status == 0, said
    assert re.search(r"Results: [\d.]+ Mbits/sec", said)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("h9 ls", "'h9' is neither a command nor a node; nodes: h1 h2 h3"),
        ("dpctl show", "switches, but there are none"),
    ],
)
def test_what_cannot_be_done_exits_2_in_one_line(topo: str, typed: str, said: str) -> None:
    status, shown = shell(topo, typed)
    assert status == 2
    assert said in shown
    assert "Traceback" not in shown


def test_lines_from_standard_input_are_taken_like_typed_ones_and_a_mistake_ends_nothing(topo: str) -> None:
    status, said = shell(topo, stdin="h9 ls\nh1 echo still $((40 + 2))\nexit\n")
    assert status == 0
    assert "neither a command nor a node" in said
    assert "still 42" in said


def test_an_experiment_gives_its_nodes_their_names(tmp_path: Path) -> None:
    status, said = shell(str(experiment(tmp_path)), "user0 ping -c 1 drafter0")
    assert status == 0, said
    assert "1 received" in said
