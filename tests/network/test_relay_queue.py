"""The delay line's rules, in virtual time: exact departure times, order, loss, rate, limits (invariants 3 and 6)."""

import pytest

from testbed.network.relay.impair import Chances
from testbed.network.relay.queue import DelayLine, LinkState
from testbed.network.spec.fabric import BurstLoss
from testbed.system.units import NS_PER_S

MS = 1_000_000
PACKET = bytes(100)


def line(state: LinkState, nodes: int = 2, seed: str = "seed") -> DelayLine:
    made = DelayLine(nodes, seed)
    for src in range(nodes):
        for dst in range(nodes):
            made.set_link(src, dst, state)
    return made


def departures(made: DelayLine, now_ns: int = 10 * NS_PER_S) -> list[tuple[int, bytes]]:
    return [(due_ns, packet) for due_ns, _, _, _, packet in made.due(now_ns)]


def test_packet_leaves_exactly_when_its_delay_has_passed() -> None:
    made = line(LinkState(delay_ns=20 * MS))
    made.push(5, 0, 1, PACKET)
    assert made.next_due_ns() == 5 + 20 * MS
    assert made.due(4 + 20 * MS) == []
    assert departures(made, 5 + 20 * MS) == [(5 + 20 * MS, PACKET)]
    assert made.next_due_ns() is None


def test_the_two_directions_of_a_pair_are_different_links() -> None:
    made = DelayLine(2, "seed")
    made.set_link(0, 1, LinkState(delay_ns=10 * MS))
    made.set_link(1, 0, LinkState(delay_ns=30 * MS))
    made.push(0, 1, 0, b"back")
    made.push(0, 0, 1, b"forth")
    assert departures(made) == [(10 * MS, b"forth"), (30 * MS, b"back")]


def test_packets_due_at_one_time_leave_in_order_of_arrival() -> None:
    made = line(LinkState(delay_ns=MS), nodes=3)
    for src, name in [(2, b"a"), (0, b"b"), (1, b"c")]:
        made.push(7, src, (src + 1) % 3, name)
    assert [packet for _, packet in departures(made)] == [b"a", b"b", b"c"]


def test_falling_delay_never_lets_a_later_packet_overtake_on_its_link() -> None:
    made = line(LinkState(delay_ns=100 * MS))
    made.push(0, 0, 1, b"old")
    made.set_link(0, 1, LinkState(delay_ns=20 * MS))
    made.push(10 * MS, 0, 1, b"new")
    assert departures(made) == [(100 * MS, b"old"), (100 * MS, b"new")]


def test_change_keeps_departure_time_of_packets_in_flight() -> None:
    made = line(LinkState(delay_ns=20 * MS))
    made.push(0, 0, 1, b"old")
    made.set_link(0, 1, LinkState(delay_ns=100 * MS))
    made.push(1 * MS, 0, 1, b"new")
    assert departures(made) == [(20 * MS, b"old"), (101 * MS, b"new")]


def test_falling_delay_of_one_link_leaves_other_links_alone() -> None:
    made = line(LinkState(delay_ns=100 * MS), nodes=3)
    made.push(0, 0, 1, b"slow")
    made.set_link(0, 2, LinkState(delay_ns=MS))
    made.push(0, 0, 2, b"fast")
    assert departures(made) == [(MS, b"fast"), (100 * MS, b"slow")]


def test_rate_serialises_before_the_delay() -> None:
    made = line(LinkState(delay_ns=5 * MS, rate_bps=8_000_000, buffer_bytes=10_000))  # 1 byte each microsecond
    for arrival_ns in (0, 0, 300_000):  # two back to back, one on the idle link
        made.push(arrival_ns, 0, 1, PACKET)
    assert [due_ns for due_ns, _ in departures(made)] == [5 * MS + us * 1000 for us in (100, 200, 400)]


def test_serialisation_is_rounded_up_so_that_the_rate_is_never_exceeded() -> None:
    assert LinkState(rate_bps=3 * NS_PER_S).serialisation_ns(1) == 3  # 8 bits in 2.67 ns
    assert LinkState().serialisation_ns(1500) == 0


def test_what_exceeds_the_rate_buffer_is_dropped_and_counted() -> None:
    made = line(LinkState(rate_bps=8_000_000, buffer_bytes=250))
    for _ in range(5):
        made.push(0, 0, 1, PACKET)
    assert len(departures(made)) == 2
    assert (made.pair(0, 1).delivered, made.pair(0, 1).dropped) == (2, 3)


def test_the_frame_header_counts_against_the_rate() -> None:
    made = DelayLine(2, "seed", overhead_bytes=14)
    made.set_link(0, 1, LinkState(rate_bps=8_000_000, buffer_bytes=10_000))
    made.push(0, 0, 1, PACKET)
    assert [due_ns for due_ns, _ in departures(made)] == [114_000]


def test_a_link_holds_no_more_packets_than_its_limit() -> None:
    made = line(LinkState(delay_ns=MS, limit_packets=3))
    for _ in range(5):
        made.push(0, 0, 1, PACKET)
    assert len(departures(made)) == 3
    made.push(2 * MS, 0, 1, PACKET)
    assert len(departures(made)) == 1
    assert made.pair(0, 1).dropped == 2


def survivors(seed: str, src: int = 0, dst: int = 1) -> list[int]:
    made = line(LinkState(chances=Chances(0.3)), seed=seed)
    for number in range(200):
        made.push(number, src, dst, bytes([number]))
    return [packet[0] for _, packet in departures(made)]


def test_one_seed_loses_the_same_packets() -> None:
    assert survivors("a") == survivors("a")


def test_seeds_and_directions_lose_different_packets() -> None:
    assert len({tuple(survivors("a")), tuple(survivors("b")), tuple(survivors("a", 1, 0))}) == 3


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_loss_of_none_and_of_all_are_exact(loss: float) -> None:
    made = line(LinkState(chances=Chances(loss)))
    for _ in range(100):
        made.push(0, 0, 1, PACKET)
    made.due(0)
    assert (made.pair(0, 1).delivered, made.pair(0, 1).lost) == (round(100 * (1 - loss)), round(100 * loss))


@pytest.mark.parametrize("chances", [Chances(jitter_ns=30 * MS), Chances(reorder=0.3)])
def test_with_jitter_or_reordering_packets_overtake(chances: Chances) -> None:
    made = line(LinkState(delay_ns=40 * MS, chances=chances))
    for number in range(100):
        made.push(number * MS, 0, 1, bytes([number]))
    left = [packet[0] for _, packet in departures(made)]
    assert sorted(left) == list(range(100))
    assert left != sorted(left)


def test_a_link_that_stops_jittering_is_in_order_again() -> None:
    made = line(LinkState(delay_ns=40 * MS, chances=Chances(jitter_ns=30 * MS)))
    for number in range(50):
        made.push(number, 0, 1, b"before")
    made.set_link(0, 1, LinkState(delay_ns=MS))
    made.push(MS, 0, 1, b"after")
    assert departures(made)[-1][1] == b"after"


def test_a_cut_link_drops_what_comes_and_keeps_what_is_inside() -> None:
    made = line(LinkState(delay_ns=20 * MS))
    made.push(0, 0, 1, b"before")
    made.set_link(0, 1, made.pair(0, 1).state._replace(up=False))
    made.push(MS, 0, 1, b"cut")
    made.set_link(0, 1, made.pair(0, 1).state._replace(up=True))
    made.push(2 * MS, 0, 1, b"after")
    assert departures(made) == [(20 * MS, b"before"), (22 * MS, b"after")]
    pair = made.pair(0, 1)
    assert (pair.delivered, pair.cut, pair.dropped, pair.lost) == (2, 1, 0, 0)


def test_a_full_buffer_moves_no_other_packet_s_fate() -> None:
    """Which packets chance takes depends on their number alone, not on how fast they came."""

    def taken(gap_ns: int) -> set[int]:
        made = line(LinkState(rate_bps=8_000_000, buffer_bytes=450, chances=Chances(0.3)))
        for number in range(200):
            made.push(number * gap_ns, 0, 1, bytes([number]) * 100)
        return {packet[0] for _, packet in departures(made)}

    paced, hurried = taken(100_000), taken(50_000)
    assert hurried < paced  # the buffer took some more, chance nobody else


def test_a_lost_packet_has_occupied_the_rate() -> None:
    made = line(LinkState(rate_bps=8_000_000, buffer_bytes=10_000, chances=Chances(1.0)))
    made.push(0, 0, 1, PACKET)
    made.set_link(0, 1, LinkState(rate_bps=8_000_000, buffer_bytes=10_000))
    made.push(0, 0, 1, PACKET)
    assert [due_ns for due_ns, _ in departures(made)] == [200_000]


def test_every_packet_is_delivered_inside_or_counted_with_its_reason() -> None:
    chances = Chances(burst_loss=BurstLoss(0.1, 0.4), reorder=0.1, jitter_ns=20 * MS)
    state = LinkState(50 * MS, limit_packets=60, rate_bps=1_000_000, buffer_bytes=2_000, chances=chances)
    made = line(state)
    out = 0
    for number in range(500):
        made.set_link(0, 1, state._replace(up=number % 100 < 90))
        made.push(number * MS // 4, 0, 1, PACKET)
        out += len(made.due(number * MS // 4))
    inside = len(made.due(10 * NS_PER_S))
    pair = made.pair(0, 1)
    assert out and inside and pair.dropped and pair.lost
    assert pair.cut == 50
    assert pair.delivered == out + inside
    assert pair.delivered + pair.dropped + pair.lost + pair.cut == 500
