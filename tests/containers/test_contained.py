"""A node program in a container: waits for its configuration, replies on its own connection, ends with both.

No engine here: the program runs as an ordinary process, as it does inside a container.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.containers.program import ControlSocket
from testbed.nodes import contained, health
from testbed.nodes.control import NodeConfig, Quit, line


def accepted(control: ControlSocket):
    for _ in range(400):
        if (connection := control.accept()) is not None:
            return connection
    raise AssertionError("the program did not dial in")


@pytest.fixture
def dialled(tmp_path):
    """The program, and both ends of it; its beat file is in the test's own folder."""
    control = ControlSocket(tmp_path, "control.sock")
    argv = [sys.executable, "-m", "testbed.nodes.contained", str(tmp_path / "control.sock")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    commands, replies = accepted(control), accepted(control)
    control.close()
    yield program, commands, replies
    commands.close()
    replies.close()
    program.kill()
    program.wait()
    program.stderr.close()


def test_it_waits_and_ends_by_itself_when_the_run_ends_before_it_began(dialled):
    program, commands, replies = dialled
    assert program.poll() is None
    commands.close()
    replies.close()
    assert program.wait(20) == 0


def test_it_becomes_ready_and_obeys_quit(dialled, tmp_path):
    program, commands, replies = dialled
    commands.sendall(line(NodeConfig("user0", "near", "127.0.0.1")))
    with replies.makefile("rb") as stream:
        seen = [json.loads(text)["type"] for text in _until(stream, "ready")]
    assert seen[-1] == "ready"
    assert (tmp_path / contained.BEAT_FILE.name).exists()  # and none in the machine's own folder
    commands.sendall(line(Quit()))
    assert program.wait(20) == 0


def test_it_cannot_outlive_the_engine_that_configured_it(dialled):
    program, commands, replies = dialled
    commands.sendall(line(NodeConfig("user0", "near", "127.0.0.1")))
    with replies.makefile("rb") as stream:
        list(_until(stream, "ready"))
    commands.close()
    replies.close()
    program.wait(20)


def _until(stream, kind):
    for text in stream:
        yield text
        if json.loads(text)["type"] == kind:
            return


def test_a_control_socket_fits_any_folder(tmp_path):
    """The kernel has room for 108 bytes of path."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    control = ControlSocket(folder, "control.sock")
    assert (folder / "control.sock").is_socket()
    control.close()


@pytest.mark.parametrize(("age_s", "expected"), [(1.0, True), (60.0, False)])
def test_health_is_a_fresh_beat(tmp_path, age_s, expected):
    beat = tmp_path / "beat"
    beat.touch()
    assert health.healthy(beat, beat.stat().st_mtime + age_s) is expected


def test_a_node_that_waits_for_its_configuration_is_healthy(tmp_path):
    assert health.healthy(Path(tmp_path / "none"), 0.0)
