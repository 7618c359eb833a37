"""A kernel that has netem as a module gets it loaded by root, and everybody else is told how."""

from dataclasses import replace

import pytest

from testbed.network import capabilities
from testbed.network.capabilities import PROBES, Capabilities, choose_fabric, load_modules, missing, resolve_fabric
from testbed.system.userns import Privilege

TOOLS = dict.fromkeys(capabilities.TOOL_PACKAGES, True)
ABLE = Capabilities(
    kernel="6.8.0", cores=8, privilege="root", qdiscs=dict.fromkeys(PROBES, True), kernel_modules=True, tun=True,
    realtime=True, uml=True, mininet=True, tools=TOOLS,
)  # fmt: skip
HAS_IT_AS_A_MODULE = replace(ABLE, qdiscs={**ABLE.qdiscs, "netem": False}, loadable=("sch_netem",))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands in place of modprobe's; afterwards every qdisc works."""
    commands: list[list[str]] = []

    def run(argv: list[str]) -> str:
        commands.append(argv)
        return ""

    monkeypatch.setattr(capabilities, "_output", run)
    monkeypatch.setattr(capabilities, "_in_scratch_namespace", lambda command: True)
    return commands


def test_root_loads_what_is_missing_and_takes_netem(ran: list[list[str]]) -> None:
    assert choose_fabric("auto", HAS_IT_AS_A_MODULE)[0] == "relay"
    able = load_modules(HAS_IT_AS_A_MODULE)
    assert ran == [["modprobe", "sch_netem"]]
    assert choose_fabric("auto", able)[0] == "netem"
    assert able.loadable == ()


@pytest.mark.parametrize("privilege", ["container", "user namespace", "none"])
def test_nobody_else_touches_the_kernel(ran: list[list[str]], privilege: Privilege) -> None:
    somebody = replace(HAS_IT_AS_A_MODULE, privilege=privilege)
    assert load_modules(somebody) is somebody
    assert ran == []


def test_nothing_is_loaded_for_a_fabric_that_needs_nothing(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capabilities, "probe_capabilities", lambda: HAS_IT_AS_A_MODULE)
    assert resolve_fabric("relay") == ("relay", "requested")
    assert ran == []
    assert resolve_fabric("auto")[0] == "netem"


def test_doctor_says_that_a_run_as_root_will_load_it() -> None:
    (one,) = [one for one in missing(HAS_IT_AS_A_MODULE) if one.what == "kernel netem"]
    assert one.fix == "sudo modprobe sch_netem; a run as root does this itself"
    (one,) = [one for one in missing(replace(HAS_IT_AS_A_MODULE, loadable=())) if one.what == "kernel netem"]
    assert "apt-get install" in one.fix
