"""The relay carries out the same plan as the other fabrics, and explains itself without root."""

import errno
from dataclasses import astuple

import pytest

from testbed.errors import BadInput
from testbed.network.fabric import Link, Port
from testbed.network.relay import link_states
from testbed.network.relay_process import TUN_PATH, explain
from testbed.network.relay_queue import LinkState

PORTS = [Port("a", 4, "10.0.0.5", 1), Port("b", 2, "10.0.0.3", 1)]


def test_link_states_are_positions_and_the_fields_of_link_state() -> None:
    rows = link_states(PORTS, [Link("a", "b", 10.05, loss=0.25), Link("b", "a", 3, rate_bps=8_000_000)])
    states = {(src, dst): LinkState(*fields) for src, dst, *fields in rows}
    assert set(states) == {(0, 1), (1, 0)}
    assert astuple(states[0, 1])[:4] == (10_050_000, 0.25, None, 0)
    assert states[1, 0].rate_bps == 8_000_000
    assert states[1, 0].buffer_bytes == 50_000  # 50 ms at the rate, as the plan says


def test_a_missing_link_is_refused_before_anything_changes() -> None:
    with pytest.raises(BadInput, match="b -> a: missing"):
        link_states(PORTS, [Link("a", "b", 1)])


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (OSError(errno.ENOENT, "no such file", TUN_PATH), "modprobe tun"),
        (OSError(errno.EACCES, "permission denied", TUN_PATH), "chmod 0666"),
        (OSError(errno.EPERM, "not permitted"), "run as root"),
        (OSError(errno.EBUSY, "busy"), "without a network"),
    ],
)
def test_what_the_machine_cannot_do_comes_with_its_mend(error: OSError, mend: str) -> None:
    message = explain(error, "a")
    assert mend in message
    assert "\n" not in message
