"""The fabric follows from what the machine can do: netem, else relay, never silently lab; each gap has a fix."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import MachineCannot
from testbed.network import capabilities
from testbed.network.capabilities import TOOL_PACKAGES, Capabilities, choose_fabric, missing, of_ordinary_user
from testbed.network.hosts import load_mininet
from testbed.system.userns import as_root, fix_of

ABLE = Capabilities(
    kernel="6.8.0",
    cores=8,
    privilege="root",
    user_namespace=True,
    realtime=True,
    qdiscs={"netem": True, "htb": True, "u32": True, "tbf": True, "fq": True},
    kernel_modules=True,
    tun=True,
    tun_mode="0600",
    uml=True,
    mininet=True,
    mnexec=True,
    tools=dict.fromkeys(TOOL_PACKAGES, True),
    docker_client=True,
    docker_engine="27.0",
)
NOTHING = replace(ABLE, privilege="none", user_namespace=False)
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
        ("auto", of_ordinary_user(ABLE), "netem"),
        ("auto", of_ordinary_user(replace(NO_NETEM, tun_mode="0666")), "relay"),
        ("auto", of_ordinary_user(NO_NETEM), "lab"),  # /dev/net/tun is root's, and an ordinary user cannot change that
        ("auto", replace(ABLE, privilege="container"), "netem"),
        ("netem", replace(ABLE, docker_client=False, mnexec=False), "netem"),
    ],
)
def test_choice(requested: Any, caps: Capabilities, chosen: str) -> None:
    name, reason = choose_fabric(requested, caps)
    assert name == chosen
    assert reason


@pytest.mark.parametrize(
    ("requested", "caps", "names"),
    [
        ("netem", NO_NETEM, ["kernel netem", "modprobe sch_netem"]),
        ("netem", replace(NO_NETEM, kernel_modules=False), ["kernel netem", "--fabric relay"]),
        ("relay", replace(ABLE, tun=False, tun_mode=None), ["/dev/net/tun", "modprobe tun"]),
        ("relay", of_ordinary_user(ABLE), ["/dev/net/tun", "chgrp testbed /dev/net/tun"]),
        ("lab", replace(ABLE, uml=False), ["User-Mode Linux", "apt-get install user-mode-linux"]),
        ("auto", replace(NO_NETEM, tun=False), ["/dev/net/tun", "kernel netem"]),  # lab is there, and not taken
        ("auto", replace(ABLE, mininet=False), ["Mininet", "pip install --force-reinstall mininet"]),
        ("auto", NOTHING, ["lacks root or user namespaces; "]),
        ("netem", replace(ABLE, tools={**ABLE.tools, "tc": False}), ["tc", "apt-get install iproute2"]),
    ],
)
def test_out_of_reach_is_said_with_the_fix(requested: Any, caps: Capabilities, names: list[str]) -> None:
    with pytest.raises(MachineCannot) as caught:
        choose_fabric(requested, caps)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_mininet_that_cannot_be_imported_is_missing_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mininet.node", None)  # the package is there, importing it fails
    monkeypatch.delattr("mininet.node", raising=False)
    with pytest.raises(MachineCannot, match=r"Mininet cannot be imported .*; pip install --force-reinstall mininet"):
        load_mininet()
    assert not capabilities.probe_capabilities().mininet


def test_the_fix_for_root_runs_the_installation_that_says_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """sudo's own PATH does not hold a virtual environment, so a bare `sudo testbed` would not be found."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert as_root() == f"sudo {tmp_path}/.venv/bin/testbed ..."
    monkeypatch.chdir(tmp_path)
    assert as_root() == "sudo .venv/bin/testbed ..."
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert as_root() == "sudo testbed ..."


def test_docker_is_no_lack_as_nodes_run_as_processes() -> None:
    assert missing(replace(ABLE, docker_client=False, docker_engine=None)) == []
    assert missing(replace(ABLE, docker_engine=None)) == []


def test_an_able_machine_lacks_nothing_and_every_missing_part_has_a_fix() -> None:
    assert missing(ABLE) == []
    nothing = Capabilities(kernel="6.8.0", cores=1, privilege="none", tools=dict.fromkeys(TOOL_PACKAGES, False))
    assert len(missing(nothing)) >= 10
    assert all(one.what and one.effect and one.fix for one in missing(nothing))


def test_what_stops_netem_and_relay_alike_is_said_once() -> None:
    with pytest.raises(MachineCannot) as caught:
        choose_fabric("auto", NOTHING)
    assert str(caught.value).count("root or user namespaces") == 1


def test_lab_in_place_of_relay_comes_with_the_fix_for_relay() -> None:
    assert "chgrp testbed /dev/net/tun" in choose_fabric("auto", of_ordinary_user(NO_NETEM))[1]


def test_an_ordinary_user_has_no_real_time_priority_and_is_told_how_to_get_it() -> None:
    (one,) = [one for one in missing(of_ordinary_user(ABLE)) if one.what == "real-time priority"]
    assert "'@testbed - rtprio 10'" in one.fix


@pytest.mark.parametrize("change", [{"user_namespace": False}, {"tun": False}, {"realtime": False}])
@pytest.mark.parametrize("privilege", ["none", "container"])
def test_what_a_fix_permits_is_said_and_never_everybodys(privilege: Any, change: dict, monkeypatch) -> None:
    settings = {"kernel.apparmor_restrict_unprivileged_userns": "1"}
    monkeypatch.setattr(capabilities, "namespace_fix", lambda: fix_of(settings, filtered=False))
    found = missing(replace(ABLE, privilege=privilege, **change))
    for one in found:
        assert one.opens, one
        assert "0666" not in one.fix and "'* -" not in one.fix and "restrict_unprivileged_userns=0" not in one.fix
