"""`shaped_network`: programs of one's own meet the links asked for, find each other by name, and end with it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.api.shaped import CommandFailed, ShapedNetwork, shaped_network
from testbed.errors import BadInput
from tests.emulation.leftovers import remains

SERVE = "python3 -m http.server 8000 --directory {folder} >/dev/null 2>&1"
ASK = (
    "import time, urllib.request\n"
    "until = time.monotonic() + 30\n"
    "while True:\n"
    "    try:\n"
    "        print(urllib.request.urlopen('http://near:8000/a.txt', timeout=5).read().decode()); break\n"
    "    except OSError:\n"
    "        assert time.monotonic() < until; time.sleep(0.1)\n"
)


pytestmark = pytest.mark.shaped


@pytest.fixture(scope="module")
def network() -> Iterator[ShapedNetwork]:
    """One for all tests here, which leave its links as they were; and nothing may be left after it."""
    before = remains()
    with shaped_network({"near": {"far": 20.0, "other": 6.0}, "far": {"other": 10.0}}, fabric="relay") as found:
        yield found
    assert remains() == before


@pytest.mark.slow
def test_links_are_as_asked_and_change_at_once(network: ShapedNetwork) -> None:
    """Ratios within one run: what a busy machine adds is added to both."""
    before = network.rtt_ms("near", "far")
    assert 19 < before < 25
    network.change("near", "far", one_way_ms=40.0)
    try:
        assert 55 < network.rtt_ms("near", "far") - before < 65
    finally:
        network.change("near", "far", one_way_ms=10.0)
    assert abs(network.rtt_ms("near", "far") - before) < 5
    with pytest.raises(BadInput, match="a link has no 'delay'"):
        network.change("near", "far", delay=3)


def test_names_resolve_and_addresses_are_in_the_environment(network: ShapedNetwork) -> None:
    said = network["near"].run("getent hosts far; echo $TESTBED_NODE $TESTBED_ADDR_far $MINE", env={"MINE": "1"}).stdout
    address = network["far"].address
    assert re.split(r"\s+", said.strip()) == [address, "far", "near", address, "1"]
    assert "far" not in Path("/etc/hosts").read_text().split()


@pytest.mark.slow
def test_a_server_in_one_node_answers_a_client_in_another(network: ShapedNetwork, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    network["near"].start(SERVE.format(folder=tmp_path))
    assert network["far"].run(["python3", "-c", ASK], timeout=60).stdout.strip() == "hello"


def test_programs_keep_folder_input_and_status(network: ShapedNetwork, tmp_path: Path) -> None:
    node = network["far"]
    assert node.run("pwd", cwd=tmp_path).stdout.strip() == str(tmp_path)
    assert node.run("pwd").stdout.strip() == str(Path.cwd())
    assert node.run(["cat"], input="as it is\n").stdout == "as it is\n"
    assert node.run("exit 7", check=False).returncode == 7
    with pytest.raises(CommandFailed, match=r"node far: 'echo why >&2; exit 7' ended with status 7\nwhy"):
        node.run("echo why >&2; exit 7")
    with pytest.raises(BadInput, match="no node 'fra'; did you mean 'far'"):
        network["fra"]


def test_what_takes_too_long_is_ended_with_what_it_started(network: ShapedNetwork) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        network["far"].run("sleep 4321 & sleep 4321", timeout=0.5)
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.parent.exists() and b"sleep\x004321" in _read(path)
    ]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_link_that_is_cut_carries_nothing_until_it_is_restored(network: ShapedNetwork) -> None:
    network.cut("near", "other")
    with pytest.raises(AssertionError, match="no probe of 3"):
        network.rtt_ms("near", "other", count=3)
    network.restore("near", "other")
    assert network.rtt_ms("near", "other", count=3) < network.rtt_ms("near", "far", count=3)


def test_a_capture_holds_what_two_nodes_said(network: ShapedNetwork, tmp_path: Path) -> None:
    with network.capture("near", "far", tmp_path) as file:
        network.rtt_ms("near", "far", count=5)
    assert file.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"  # pcapng, section header block
    assert file.stat().st_size > 5 * 2 * 2 * 40  # five probes and their echoes, as both ends see them


def test_a_second_network_of_one_process_is_refused_and_does_not_wait_for_the_first(network: ShapedNetwork) -> None:
    started = time.monotonic()
    with pytest.raises(BadInput, match="has a network already"), shaped_network("two-sites", fabric="relay"):
        raise AssertionError("it stands")
    assert time.monotonic() - started < 60 and os.getpid()
