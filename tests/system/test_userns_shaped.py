"""Each fabric needs nothing beyond what a user namespace gives; also netem's tree, on kernels that have no netem."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.shaped

IN_A_USER_NAMESPACE = """\
import sys
from pathlib import Path
from testbed.system import userns

userns.enter_user_namespace()
from testbed.network.spec.fabric import Port
from testbed.containers.removal import remove_named
from testbed.network.hosts import MininetHosts
from testbed.system.journal import Journal
from testbed.network.netem.fabric import NetemFabric
from testbed.network.relay.fabric import RelayFabric

journal = Journal(Path(sys.argv[2]) / "r" / "journal.jsonl")
hosts = MininetHosts("unpriv", journal)
fabric = NetemFabric("unpriv", journal, leaf="pfifo") if sys.argv[1] == "netem" else RelayFabric("unpriv", journal)
ports = [Port(f"n{index}", index, f"10.77.0.{index + 1}", hosts.add(f"n{index}")) for index in range(2)]
fabric.attach(ports)
ping = hosts.popen_at(ports[0].pid, ["ping", "-c", "1", ports[1].address], stdout=-1)
ping.communicate()
print(userns.privilege(), ping.returncode, fabric.counters().unmatched)
fabric.detach()
hosts.stop()
journal.undo(remove_named)
"""


@pytest.mark.parametrize("fabric", ["netem", "relay"])
def test_a_fabric_attaches_and_carries_packets_in_a_user_namespace(tmp_path: Path, fabric: str) -> None:
    argv = [sys.executable, "-c", IN_A_USER_NAMESPACE, fabric, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[0] == "user namespace 0 0", done.stderr
