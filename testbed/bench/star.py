"""Mininet's own star of TCLinks beside the fabric `netem`: same nodes, same delays, same probes, same kernel, same run.

Both need netem, so both run inside the lab's kernel, whatever this machine's own can do. There every system call costs
15 us and more and a program 10 ms: compare the two with each other only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from testbed.bench.measurement import Measurement
from testbed.bench.network import journalled
from testbed.emulation.lock import machine_lock
from testbed.network.lab.inside import empty_lab, run_inside
from testbed.network.lab.kernel import missing_parts

PROGRAM = Path(__file__).with_name("star_inside.py")


def star_figures() -> list[Measurement]:
    """While no emulation runs on this machine; none, with the reason, where the lab's kernel is not available."""
    if fixes := missing_parts():
        print(f"bench: Mininet's star and ours are left out: no lab; {'; '.join(fixes)}", file=sys.stderr)
        return []
    with machine_lock(), journalled() as (_, journal), empty_lab(journal) as kernel:
        lines = run_inside(kernel, PROGRAM).splitlines()
    return [Measurement(**figure) for figure in json.loads(lines[-1])]
