"""The delay line's rules, in virtual time: exact departure times, order, loss, rate, limits (invariants 3 and 6)."""

import pytest

from testbed.network.relay_queue import NS_PER_S, DelayLine, LinkState

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
    assert (made.delivered(0, 1), made.dropped(0, 1)) == (2, 3)


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
    assert made.dropped(0, 1) == 2


def survivors(seed: str, src: int = 0, dst: int = 1) -> list[int]:
    made = line(LinkState(loss=0.3), seed=seed)
    for number in range(200):
        made.push(number, src, dst, bytes([number]))
    return [packet[0] for _, packet in departures(made)]


def test_one_seed_loses_the_same_packets() -> None:
    assert survivors("a") == survivors("a")


def test_seeds_and_directions_lose_different_packets() -> None:
    assert len({tuple(survivors("a")), tuple(survivors("b")), tuple(survivors("a", 1, 0))}) == 3


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_loss_of_none_and_of_all_are_exact(loss: float) -> None:
    made = line(LinkState(loss=loss))
    for _ in range(100):
        made.push(0, 0, 1, PACKET)
    made.due(0)
    assert (made.delivered(0, 1), made.dropped(0, 1)) == (round(100 * (1 - loss)), round(100 * loss))


def test_loss_share_is_met() -> None:
    made = line(LinkState(loss=0.1, limit_packets=100_000))
    for _ in range(20_000):
        made.push(0, 0, 1, PACKET)
    assert made.dropped(0, 1) == pytest.approx(2_000, abs=5 * (20_000 * 0.1 * 0.9) ** 0.5)  # five sigma, one fixed seed


def test_every_packet_is_delivered_dropped_or_inside() -> None:
    made = line(LinkState(delay_ns=50 * MS, loss=0.2, rate_bps=1_000_000, buffer_bytes=2_000, limit_packets=60))
    out = 0
    for number in range(500):
        made.push(number * MS // 4, 0, 1, PACKET)
        out += len(made.due(number * MS // 4))
    inside = len(made.due(10 * NS_PER_S))
    assert out and inside and made.dropped(0, 1)
    assert made.delivered(0, 1) == out + inside
    assert made.delivered(0, 1) + made.dropped(0, 1) == 500
