"""Timed events in virtual time: a cut link holds what TCP sends until it tries again after the link is back."""

from __future__ import annotations

from testbed.network.spec.schedule import PairEvent
from testbed.simulation.links import LinkSpec, SimulatedLink, make_links

MS = 1_000_000
RTT_NS = 20 * MS
CUT = (PairEvent(1000 * MS, up=False), PairEvent(2000 * MS, up=True))


def test_a_cut_link_delivers_at_the_first_retransmission_after_it_is_back() -> None:
    """Sent at 1010 ms; retransmitted 220, 440, 880 ms later each: at 1230, 1670 and 2550 ms."""
    link = SimulatedLink(LinkSpec(10.0, events=CUT), RTT_NS, "a")
    assert link.arrival_ns(900 * MS, 100) == 910 * MS
    assert link.arrival_ns(1010 * MS, 100) == 2560 * MS


def test_what_is_sent_while_tcp_waits_goes_out_with_the_first_that_gets_through() -> None:
    link = SimulatedLink(LinkSpec(10.0, events=CUT), RTT_NS, "a")
    link.arrival_ns(1010 * MS, 100)
    assert link.arrival_ns(1999 * MS, 100) == 2560 * MS  # by itself it would have been there sooner
    assert link.arrival_ns(2300 * MS, 100) == 2560 * MS  # the link is up, the connection still waits
    assert link.arrival_ns(2600 * MS, 100) == 2610 * MS


def test_packets_in_flight_when_a_link_is_cut_arrive() -> None:
    link = SimulatedLink(LinkSpec(10.0, events=CUT), RTT_NS, "a")
    assert link.arrival_ns(999 * MS, 100) == 1009 * MS


def test_delay_rate_and_loss_change_at_their_time_and_stay() -> None:
    events = (
        PairEvent(100 * MS, one_way_ms=30.0),
        PairEvent(200 * MS, rate_bps=8_000),
        PairEvent(300 * MS, loss=0.999),
    )
    link = SimulatedLink(LinkSpec(10.0, events=events), RTT_NS, "a")
    assert link.arrival_ns(99 * MS, 10) == 109 * MS
    assert link.arrival_ns(100 * MS, 10) == 130 * MS
    assert link.arrival_ns(200 * MS, 10) == 240 * MS  # 10 bytes take 10 ms
    assert link.arrival_ns(300 * MS, 10) > 500 * MS


def test_events_of_one_link_move_nothing_on_another() -> None:
    plain, lossy = LinkSpec(10.0, loss=0.2), LinkSpec(10.0, loss=0.2, events=CUT)
    specs = {("a", "b"): plain, ("b", "a"): plain}
    other = make_links({**specs, ("b", "a"): lossy}, 1)["a", "b"]
    same = make_links(specs, 1)["a", "b"]
    assert [other.arrival_ns(t * MS, 1) for t in range(0, 3000, 7)] == [
        same.arrival_ns(t * MS, 1) for t in range(0, 3000, 7)
    ]
