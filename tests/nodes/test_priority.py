"""A model worker goes before other programs also where the kernel shares out by session; nobody else's is changed."""

import os
import subprocess
import sys

import pytest

from testbed.nodes.priority import AUTOGROUP, WORKER_NICENESS

pytestmark = [
    pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not group processes by session"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a higher priority needs root"),
]
PRECEDE = "from testbed.nodes.priority import *; precede_ordinary_programs(); print(AUTOGROUP.read_text().split()[-1])"


def niceness(*command, **options):
    return int(subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout.split()[-1])


def test_a_worker_sets_the_niceness_of_the_session_that_began_with_it_or_with_its_node():
    node = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {PRECEDE!r}], check=True)"
    for program in (PRECEDE, node):
        assert niceness(sys.executable, "-c", program, start_new_session=True) == WORKER_NICENESS


def test_a_session_that_began_with_somebody_else_is_left_alone():
    inside = f"{sys.executable} -c '{PRECEDE}'; true"
    shell = f"import subprocess; subprocess.run(['sh', '-c', {inside!r}], check=True)"
    assert niceness(sys.executable, "-c", shell, start_new_session=True) == 0
