"""The relay carries out the same plan as the other fabrics, and explains itself without root."""

import errno
import json

import pytest

from testbed.errors import BadInput
from testbed.network.relay.fabric import link_rows
from testbed.network.relay.impair import NONE, Chances
from testbed.network.relay.process import TUN_PATH, explain
from testbed.network.relay.queue import LinkState
from testbed.network.relay.switch import SLICE_LINKS, Switch, link_state
from testbed.network.spec.fabric import BurstLoss, Link, Port

PORTS = [Port("a", 4, "10.0.0.5", 1), Port("b", 2, "10.0.0.3", 1)]


def states(links: list[Link], complete: bool = True) -> dict[tuple[object, object], LinkState]:
    """As the relay's process has them: through JSON."""
    rows = json.loads(json.dumps(link_rows(PORTS, links, complete)))
    return {(row[0], row[1]): link_state(row) for row in rows}


def test_rows_carry_every_field_of_a_link() -> None:
    burst = BurstLoss(0.1, 0.2, 0.9, 0.01)
    there = Link("a", "b", 10.05, rate_bps=8_000_000, jitter_ms=1.5, burst_loss=burst, reorder=0.25, up=False)
    made = states([there, Link("b", "a", 3, loss=0.25, rate_bps=8_000_000, buffer_bytes=20_000)])
    assert made == {
        (0, 1): LinkState(10_050_000, 10_000, 8_000_000, 50_000, Chances(0.0, burst, 0.25, 1_500_000), False),
        (1, 0): LinkState(3_000_000, 10_000, 8_000_000, 20_000, Chances(0.25)),
    }  # 50,000: 50 ms at the rate, as the plan says


def test_a_link_with_nothing_but_a_delay_is_four_numbers_and_leaves_nothing_to_chance() -> None:
    assert link_rows(PORTS, [Link("b", "a", 3)], complete=False) == [[1, 0, 3_000_000, 10_000]]
    assert states([Link("b", "a", 3)], complete=False)[1, 0].chances is NONE
    assert states([Link("b", "a", 3, rate_bps=8_000_000)], complete=False)[1, 0].chances is NONE


def test_a_missing_link_is_refused_before_anything_changes() -> None:
    with pytest.raises(BadInput, match="b -> a: missing"):
        link_rows(PORTS, [Link("a", "b", 1)])


def test_an_update_pauses_between_slices_and_changes_every_link_of_it() -> None:
    nodes = 12
    switch = Switch([f"10.0.0.{index + 1}" for index in range(nodes)], list(range(100, 100 + nodes)), "seed")
    rows = [[a, b, 1000 * (12 * a + b), 10] for a in range(nodes) for b in range(nodes) if a != b]
    pauses = sum(1 for _ in switch.update(rows))
    assert pauses == -(-len(rows) // SLICE_LINKS)
    assert all(switch.line.pair(row[0], row[1]).state == LinkState(row[2], 10) for row in rows)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (OSError(errno.ENOENT, "no such file", TUN_PATH), "modprobe tun"),
        (OSError(errno.EACCES, "permission denied", TUN_PATH), "testbed doctor"),
        (OSError(errno.EPERM, "not permitted"), "run as root"),
        (OSError(errno.EBUSY, "busy"), "without a network"),
    ],
)
def test_what_the_machine_cannot_do_comes_with_its_fix(error: OSError, fix: str) -> None:
    message = explain(error, "a")
    assert fix in message
    assert "\n" not in message
