"""The fabric follows from what the machine can do: netem, else relay, never silently lab; each lack has its mend."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.errors import MachineCannot
from testbed.network import capabilities
from testbed.network.capabilities import TOOL_PACKAGES, Capabilities, choose_fabric, lacks
from testbed.network.hosts import as_root, load_mininet

ABLE = Capabilities(
    kernel="6.8.0",
    cores=8,
    root=True,
    qdiscs={"netem": True, "htb": True, "u32": True, "tbf": True, "fq": True},
    kernel_modules=True,
    tun=True,
    uml=True,
    mininet=True,
    mnexec=True,
    tools=dict.fromkeys(TOOL_PACKAGES, True),
    docker_client=True,
    docker_engine="27.0",
)
NO_NETEM = replace(ABLE, qdiscs={**ABLE.qdiscs, "netem": False})


@pytest.mark.parametrize(
    ("requested", "caps", "chosen"),
    [
        ("auto", ABLE, "netem"),
        ("auto", NO_NETEM, "relay"),
        ("auto", replace(ABLE, qdiscs={**ABLE.qdiscs, "u32": False}), "relay"),
        ("auto", replace(ABLE, tun=False), "netem"),
        ("relay", ABLE, "relay"),
        ("lab", NO_NETEM, "lab"),
        ("netem", replace(ABLE, docker_client=False, mnexec=False), "netem"),
    ],
)
def test_choice(requested: str, caps: Capabilities, chosen: str) -> None:
    name, reason = choose_fabric(requested, caps)
    assert name == chosen
    assert reason


@pytest.mark.parametrize(
    ("requested", "caps", "names"),
    [
        ("netem", NO_NETEM, ["kernel netem", "modprobe sch_netem"]),
        ("netem", replace(NO_NETEM, kernel_modules=False), ["kernel netem", "--fabric relay"]),
        ("relay", replace(ABLE, tun=False), ["/dev/net/tun", "modprobe tun"]),
        ("lab", replace(ABLE, uml=False), ["User-Mode Linux", "apt-get install user-mode-linux"]),
        ("auto", replace(NO_NETEM, tun=False), ["/dev/net/tun", "kernel netem"]),  # lab is there, and not taken
        ("auto", replace(ABLE, mininet=False), ["Mininet", "pip install --force-reinstall mininet"]),
        ("auto", replace(ABLE, root=False), ["lacks root; sudo "]),  # once, though it stops both
        ("netem", replace(ABLE, tools={**ABLE.tools, "ethtool": False}), ["ethtool", "apt-get install ethtool"]),
    ],
)
def test_out_of_reach_is_said_with_the_mend(requested: str, caps: Capabilities, names: list[str]) -> None:
    with pytest.raises(MachineCannot) as caught:
        choose_fabric(requested, caps)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_mininet_that_cannot_be_imported_is_a_lack_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mininet.node", None)  # the package is there, importing it fails
    monkeypatch.delattr("mininet.node", raising=False)
    with pytest.raises(MachineCannot, match=r"Mininet cannot be imported .*; pip install --force-reinstall mininet"):
        load_mininet()
    assert not capabilities.probe_capabilities().mininet


def test_the_mend_for_root_runs_the_installation_that_says_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """sudo's own PATH does not hold a virtual environment, so a bare `sudo testbed` would not be found."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert as_root() == f"sudo {tmp_path}/.venv/bin/testbed ..."
    monkeypatch.chdir(tmp_path)
    assert as_root() == "sudo .venv/bin/testbed ..."
    assert [lack.mend for lack in lacks(replace(ABLE, root=False))] == ["sudo .venv/bin/testbed ..."]
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert as_root() == "sudo testbed ..."


def test_docker_is_no_lack_as_nodes_run_as_processes() -> None:
    assert lacks(replace(ABLE, docker_client=False, docker_engine=None)) == []
    assert lacks(replace(ABLE, docker_engine=None)) == []


def test_an_able_machine_lacks_nothing_and_every_lack_has_a_mend() -> None:
    assert lacks(ABLE) == []
    nothing = Capabilities(kernel="6.8.0", cores=1, root=False, tools=dict.fromkeys(TOOL_PACKAGES, False))
    assert len(lacks(nothing)) >= 10
    assert all(lack.what and lack.effect and lack.mend for lack in lacks(nothing))
