"""Where the right to make networks comes from, and the one command that gives it; nothing of it needs root to test."""

import os
import subprocess
import sys

import pytest

from testbed.system.userns import fix_of, outside, privilege, privilege_of

FULL = "000001ffffffffff"
WHOLE = "         0          0 4294967295"
DOCKER = "00000000a80425fb"  # what Docker leaves its containers' root
ADDED = f"{int(DOCKER, 16) | 1 << 12 | 1 << 21:016x}"  # --cap-add NET_ADMIN --cap-add SYS_ADMIN


@pytest.mark.parametrize(
    ("effective", "uid_map", "expected"),
    [
        (FULL, WHOLE, "root"),
        ("000001fffeffffff", WHOLE, "root"),  # a machine that gives up a capability or two is still root's
        (FULL, "0 1000 1", "user namespace"),
        (ADDED, WHOLE, "container"),
        (DOCKER, WHOLE, "none"),
        ("0000000000000000", WHOLE, "none"),
    ],
)
def test_privilege(effective: str, uid_map: str, expected: str) -> None:
    assert privilege_of(effective, uid_map) == expected


@pytest.mark.parametrize(
    ("uid", "uid_map", "expected"),
    [(0, WHOLE, 0), (1000, WHOLE, 1000), (0, "0 1000 1", 1000), (5, "0 1000 1\n1 100000 65536", 100004)],
)
def test_the_user_outside(uid: int, uid_map: str, expected: int) -> None:
    """Root of a user namespace keeps its journals where its user does, not where root does."""
    assert outside(uid, uid_map) == expected


@pytest.mark.parametrize(
    ("settings", "filtered", "said"),
    [
        ({"user.max_user_namespaces": "0"}, False, "sudo sysctl user.max_user_namespaces="),
        ({"kernel.unprivileged_userns_clone": "0"}, False, "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            {"user.max_user_namespaces": "63000", "kernel.apparmor_restrict_unprivileged_userns": "1"},
            False,
            f"{os.path.realpath(sys.executable)} | sudo tee /etc/apparmor.d/wan-testbed",
        ),
        ({}, True, "seccomp=unconfined"),
        ({}, False, "sudo "),
    ],
)
def test_what_forbids_it_is_allowed_by_one_command(settings: dict[str, str], filtered: bool, said: str) -> None:
    assert said in fix_of(settings, filtered)


def test_a_process_with_threads_is_refused_and_not_changed() -> None:
    """The kernel gives a namespace to single processes only; half of one would be worse than none."""
    code = (
        "import threading, time; from testbed.errors import MachineCannot; from testbed.system import userns\n"
        "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\n"
        "try: userns.enter_user_namespace()\n"
        "except MachineCannot as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "this process has 2 threads already" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="knows what to expect of root only")
def test_root_enters_nothing() -> None:
    assert privilege() in ("root", "container")
