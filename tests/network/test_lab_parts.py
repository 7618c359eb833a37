"""The pure parts of the lab: order of modules, the bridge, missing packages."""

import pytest

from testbed.errors import MachineCannot
from testbed.network.lab import kernel as lab_kernel
from testbed.network.lab.fabric import LabFabric, bridge_files
from testbed.network.lab.modules import load_order
from testbed.system.journal import Journal

DEPENDENCIES = """\
kernel/net/bridge/bridge.ko: kernel/net/802/stp.ko kernel/net/llc/llc.ko
kernel/net/802/stp.ko: kernel/net/llc/llc.ko
kernel/net/llc/llc.ko:
kernel/net/sched/sch_netem.ko:
"""


def test_modules_load_after_all_they_need_and_once() -> None:
    order = [path.rpartition("/")[2] for path in load_order(DEPENDENCIES, ["bridge", "sch_netem", "stp"])]
    assert order == ["llc.ko", "stp.ko", "bridge.ko", "sch_netem.ko"]


def test_bridge_knows_every_node_and_floods_no_unicast() -> None:
    files = bridge_files([bytes(5) + b"\x01", bytes(5) + b"\x02"])
    assert "fdb add 00:00:00:00:00:02 dev vec1 master static" in files["neighbours"]
    assert files["neighbours"].count("learning off flood off") == 2
    assert files["links"].splitlines()[0].startswith("link add name br0 type bridge")


def test_missing_package_is_named(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(lab_kernel, "KERNEL", "no-such-kernel")
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(MachineCannot, match="apt-get install user-mode-linux"):
        LabFabric("test", journal).attach([])


def test_memory_directory_is_refused_when_none_allows_programs(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(MachineCannot, match="mount -o remount,exec"):
        lab_kernel.memory_directory()
