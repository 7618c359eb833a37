"""One emulation at a time: the second is refused with the holder, the end of the first frees the lock."""

import os
import subprocess
import sys

import pytest

from testbed.emulation.lock import machine_lock
from testbed.errors import MachineCannot


def test_a_second_holder_is_refused_with_the_first_ones_process(tmp_path):
    with machine_lock(tmp_path), pytest.raises(MachineCannot, match=f"process {os.getpid()}"), machine_lock(tmp_path):
        pass
    with machine_lock(tmp_path):
        pass


def test_a_killed_holder_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from testbed.emulation.lock import machine_lock\n"
        "with machine_lock(Path(sys.argv[1])): print('up', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    with pytest.raises(MachineCannot, match=f"process {holder.pid}"), machine_lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with machine_lock(tmp_path):
        pass


def refusal(state):
    with pytest.raises(MachineCannot) as caught, machine_lock(state):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_somebody_elses_lock_is_said_with_the_mend(tmp_path):
    (tmp_path / "emulation.lock").touch(mode=0o400)
    assert "make" in refusal(tmp_path)


def test_a_lock_that_cannot_be_opened_is_said_with_the_mend(tmp_path):
    (tmp_path / "file").touch()
    for state in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert f"make {state} a folder that this user can write to" in refusal(state)


def test_the_lock_follows_no_link_to_a_file_of_somebody_else(tmp_path):
    """The folder may be in a temporary directory that all share; opening empties the file."""
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    (tmp_path / "emulation.lock").symlink_to(theirs)
    refusal(tmp_path)
    assert theirs.read_text() == "kept"
