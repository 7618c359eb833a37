"""The fabric follows from what the machine can do: netem, else relay, never silently lab; each lack has its mend."""

from dataclasses import replace

import pytest

from testbed.errors import MachineCannot
from testbed.network.capabilities import TOOL_PACKAGES, Capabilities, choose_fabric, lacks

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
        ("auto", replace(ABLE, mininet=False), ["Mininet", "pip install mininet"]),
        ("netem", replace(ABLE, tools={**ABLE.tools, "ethtool": False}), ["ethtool", "apt-get install ethtool"]),
    ],
)
def test_out_of_reach_is_said_with_the_mend(requested: str, caps: Capabilities, names: list[str]) -> None:
    with pytest.raises(MachineCannot) as caught:
        choose_fabric(requested, caps)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_an_able_machine_lacks_nothing_and_every_lack_has_a_mend() -> None:
    assert lacks(ABLE) == []
    nothing = Capabilities(kernel="6.8.0", cores=1, root=False, tools=dict.fromkeys(TOOL_PACKAGES, False))
    assert len(lacks(nothing)) >= 10
    assert all(lack.what and lack.effect and lack.mend for lack in lacks(nothing))
