"""What a loss costs, rule by rule: exact times on a link of 40 ms whose losses a test names."""

from __future__ import annotations

import pytest

from testbed.simulation.tcp.segments import MSS_BYTES
from tests.simulation.tcp.scripted import Loses, nothing, tell, these, took

SMALL = 70  # bytes
LONE = [(0.0, SMALL)]


def stream(every_ms: float, count: int = 40, size: int = SMALL) -> list[tuple[float, int]]:
    return [(every_ms * number, size) for number in range(count)]


def test_without_a_loss_a_message_takes_the_delay() -> None:
    messages = stream(7.5)
    assert took(tell(messages), messages) == [20.0] * 40


def test_a_lone_message_is_repaired_after_a_round_trip_and_200_ms() -> None:
    """The probe of a lone segment is due after 2 SRTT + 200 ms, but no later than the timeout."""
    assert tell(LONE, loses=these(0)).arrived_ms == [40 + 200 + 20.0]


def test_further_losses_of_a_lone_message_double_the_timeout_once_it_was_a_timeout() -> None:
    told = tell(LONE, loses=lambda number: number < 4)
    assert told.sent_ms == [0, 240, 480, 960, 1920]  # a probe, then timeouts of 240, 480, 960
    assert told.arrived_ms == [1940.0]


def test_no_timeout_is_longer_than_120_s() -> None:
    told = tell(LONE, loses=lambda number: number < 14)
    gaps = [later - earlier for earlier, later in zip(told.sent_ms, told.sent_ms[1:], strict=False)]
    assert max(gaps) == gaps[-1] == gaps[-2] == 120_000.0


def test_with_later_messages_in_flight_a_loss_costs_a_round_trip_and_a_quarter() -> None:
    """Sent at 0 and lost; the next one, of 7.5 ms, is acknowledged at 47.5, and at 40 + 10 + 2 the wait is over."""
    messages = stream(7.5)
    told = tell(messages, loses=these(0))
    assert told.arrived_ms[0] == 40 + 10 + 2 + 20.0
    assert took(told, messages)[1:7] == [64.5, 57.0, 49.5, 42.0, 34.5, 27.0]  # held back for the order
    assert took(told, messages)[7] == 22.5  # in a recovery one goes out as another arrives: the next at 55
    assert took(told, messages)[-10:] == [20.0] * 10


def test_three_later_arrivals_end_the_wait() -> None:
    """At 1 ms apart the third acknowledgement beyond the hole comes at 43 ms, before the reordering window is over."""
    messages = stream(1.0, count=5)
    assert tell(messages, loses=these(0)).arrived_ms[0] == 43 + 20.0


def test_a_retransmission_that_is_lost_is_found_by_what_was_sent_after_it() -> None:
    messages = stream(7.5)
    told = tell(messages, loses=these(0, 7))
    assert told.sent_ms[7] == 52.0  # the retransmission
    # The next new one goes out at 55 and is acknowledged at 95: in a recovery there is no further wait.
    assert told.arrived_ms[0] == 95 + 20.0


def test_the_last_of_several_is_probed_after_two_round_trips() -> None:
    messages = [(0.0, SMALL), (5.0, SMALL)]
    told = tell(messages, loses=these(1))
    # Acknowledging the first, at 40 ms, leaves one in flight: its probe is due no later than its timeout.
    assert told.arrived_ms == [20.0, 40 + 240 + 20.0]
    both = tell(messages, loses=these(0, 1))
    assert both.sent_ms[2] == 5 + 80 + 2.0  # 2 SRTT + 2 ms after the last, which is what is sent
    assert both.sent_ms[3] == 5 + 80 + 2 + 40.0  # its acknowledgement shows the first one lost
    assert both.arrived_ms == [147.0, 147.0]


def test_a_lost_acknowledgement_costs_nothing_where_another_follows() -> None:
    messages = stream(7.5)
    assert took(tell(messages, acks=these(3, 4)), messages) == [20.0] * 40


def test_a_probe_of_what_had_arrived_changes_nothing() -> None:
    told = tell(LONE, acks=these(0))
    assert told.sent_ms == [0, 240] and told.arrived_ms == [20.0] and told.window == 10


@pytest.mark.parametrize("loses", [these(0), these(5, 6), these(3, 17, 29)])
def test_messages_arrive_once_and_in_order(loses: Loses) -> None:
    told = tell(stream(3.0, size=900), loses=loses)
    assert told.order == list(range(40)) and told.arrived_ms == sorted(told.arrived_ms)


def test_a_loss_takes_the_window_to_seven_tenths() -> None:
    assert tell(stream(7.5), loses=these(0)).window == 7
    twice = tell(stream(7.5, count=80), loses=these(0, 40))
    assert twice.window == 6  # of the 9 that it had grown to


def test_a_timeout_takes_the_window_to_one_and_slow_start_brings_it_back() -> None:
    cut = tell(stream(7.5), loses=lambda number: 5 <= number < 45)
    assert cut.order == list(range(40)) and cut.window >= 2


@pytest.mark.parametrize(("segments", "flights"), [(1, 1), (10, 1), (11, 2), (30, 2), (31, 3), (70, 3), (71, 4)])
def test_a_large_message_takes_the_flights_that_slow_start_costs(segments: int, flights: int) -> None:
    """10, then 20, then 40 segments: each that arrives lets two go."""
    told = tell([(0.0, segments * MSS_BYTES)])
    assert told.arrived_ms == [20.0 + 40.0 * (flights - 1)]


def test_after_a_timeout_without_traffic_a_connection_starts_again_at_ten() -> None:
    large = 30 * MSS_BYTES
    assert took(tell(messages := [(0.0, large), (270.0, large)]), messages) == [60.0, 20.0]  # 230 ms after the last
    assert took(tell(messages := [(0.0, large), (310.0, large)]), messages) == [60.0, 60.0]


def test_small_messages_that_wait_for_the_window_share_a_segment() -> None:
    messages = stream(1.0, count=30)
    told = tell(messages)
    assert took(told, messages)[:10] == [20.0] * 10
    assert told.arrived_ms[10:] == [60.0] * 20  # the eleventh leaves with the first acknowledgement, at 40 ms
    assert len(told.sent_ms) == 11


def test_a_lossless_stream_that_fills_half_the_window_lets_it_grow() -> None:
    assert tell(stream(7.5, count=100)).window > 10
    assert tell(stream(9.0, count=100), loses=nothing).window == 10
