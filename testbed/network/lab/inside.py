"""A whole program inside the lab's kernel, for what no other kernel at hand can run: nodes, netem and all.

So the fabric `netem` is tested and measured on machines whose own kernel has no netem. Rule kept: nothing is written on
the host, whose tree is read-only in there; what the program has to say is its output.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from testbed.errors import MachineCannot
from testbed.network.lab.kernel import GUEST_MODULES, MODULES, LabKernel, missing_parts
from testbed.system.journal import Journal

SILENCE_S = 120.0  # everything but plain computing takes its time in there

# what Mininet and a program need on a read-only root: pseudo-terminals, and somewhere to write
READY = (
    "mkdir -p /dev/pts && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /run && "
    "{python} -I -S {modules_program} load {modules}/$(uname -r) veth"
)


@contextlib.contextmanager
def empty_lab(journal: Journal) -> Iterator[LabKernel]:
    """A guest without any connection to the host but its shell."""
    if fixes := missing_parts():
        raise MachineCannot(f"lab: parts are missing; fix: {'; '.join(fixes)}")
    job = Path(tempfile.gettempdir()) / f"wan-testbed-inside-{secrets.token_hex(4)}"
    journal.directory(job)
    job.mkdir(mode=0o700)
    kernel: LabKernel | None = None
    try:
        kernel = LabKernel(job, [], {"links": "", "neighbours": ""}, journal)
        kernel.wait_until_booted()
        python, program = shlex.quote(sys.executable), shlex.quote(str(job / GUEST_MODULES.name))
        kernel.ask(READY.format(python=python, modules_program=program, modules=MODULES))
        yield kernel
    finally:
        if kernel:
            kernel.stop()
        shutil.rmtree(job, ignore_errors=True)


def run_inside(kernel: LabKernel, program: Path, silence_s: float = SILENCE_S) -> str:
    """Runs a Python program of this installation; returns its output, MachineCannot with all of it when it fails."""
    package = Path(__file__).parents[3]
    argv = [sys.executable, "-P", str(program)]
    environment = f"TMPDIR=/run HOME=/run PYTHONPATH={shlex.quote(str(package))} PYTHONDONTWRITEBYTECODE=1"
    return kernel.ask(f"{environment} {shlex.join(argv)}", silence_s)
