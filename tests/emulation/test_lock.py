"""One emulation at a time, whoever starts it: the second is refused with the holder, the end of the first frees it."""

import os
import shutil
import subprocess
import sys
import uuid

import pytest

from testbed.emulation.lock import lock_holder, machine_lock
from testbed.errors import MachineCannot

NOBODY = 65534


@pytest.fixture
def name():
    """A lock of the test's own: a run may be going on."""
    return f"wan-testbed-test-{uuid.uuid4().hex}"


def test_a_second_holder_is_refused_with_the_first_ones_process(name):
    with machine_lock(name), pytest.raises(MachineCannot, match=f"process {os.getpid()}"), machine_lock(name):
        pass
    assert lock_holder(name) is None
    with machine_lock(name):
        assert lock_holder(name) == os.getpid()


def test_a_killed_holder_holds_nothing(name):
    code = (
        "import sys, time; from testbed.emulation.lock import machine_lock\n"
        "with machine_lock(sys.argv[1]): print('up', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    with pytest.raises(MachineCannot, match=f"process {holder.pid}"), machine_lock(name):
        pass
    holder.kill()
    holder.wait()
    with machine_lock(name):
        pass


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("perl"), reason="becomes another user, with perl as witness")
def test_another_user_meets_the_same_lock(name):
    """A folder each would mean a lock each, and two emulations on one machine."""
    code = f'use Socket; socket($s,AF_UNIX,SOCK_STREAM,0); exit(bind($s, pack("Sa*",AF_UNIX,"\\0{name}")) ? 0 : 9)'
    another = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "perl", "-e", code]
    assert subprocess.run(another).returncode == 0
    with machine_lock(name):
        assert subprocess.run(another).returncode == 9


def test_a_holder_can_be_asked_for_again_and_again(name):
    """Nobody answers the questions, and a queue of them must not make the next one wait."""
    with machine_lock(name):
        for _ in range(300):
            lock_holder(name)
