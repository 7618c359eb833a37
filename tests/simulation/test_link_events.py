"""Timed events in virtual time: a cut link holds what TCP sends until it tries again after the link is back."""

from __future__ import annotations

from testbed.network.spec.schedule import PairEvent
from testbed.simulation.kernel import Kernel
from testbed.simulation.links import LinkSpec
from testbed.simulation.tcp.path import Path
from testbed.simulation.tcp.stream import Stream
from tests.simulation.test_links import arrivals

MS = 1_000_000
CUT = (PairEvent(1000 * MS, up=False), PairEvent(2000 * MS, up=True))


def messages(spec: LinkSpec, *at_ms: float, until_ms: float = 1e6) -> list[float]:
    """When each message of 100 bytes arrives over a connection whose way back is unharmed."""
    kernel, arrived = Kernel(), []
    stream = Stream(kernel, Path(spec, "a"), Path(LinkSpec(10.0), "b"), 20 * MS)
    for at in at_ms:
        kernel.at(round(at * MS), lambda _: stream.send(100, lambda _: arrived.append(kernel.now_ns / MS), None))
    kernel.run(round(until_ms * MS))
    return arrived


def test_a_cut_link_delivers_at_the_first_retransmission_after_it_is_back() -> None:
    """Sent at 1010 ms; again after 220 (a probe), 220, 440 and 880 ms: at 1230, 1450, 1890 and 2770 ms."""
    assert messages(LinkSpec(10.0, events=CUT), 900, 1010) == [910.0, 2780.0]


def test_what_is_sent_while_tcp_waits_goes_out_with_the_first_that_gets_through() -> None:
    """Nothing goes out before the first retransmission that gets through; its acknowledgement lets the rest follow."""
    assert messages(LinkSpec(10.0, events=CUT), 1010, 1999) == [2780.0, 2800.0]
    early = messages(LinkSpec(10.0, events=CUT), 1010, 1999, 2300, 2600)
    assert early == sorted(early) and 2320 < early[0] <= 2780


def test_packets_in_flight_when_a_link_is_cut_arrive() -> None:
    assert arrivals(LinkSpec(10.0, events=CUT), [999, 1000, 1999, 2000]) == [1009.0, None, None, 2010.0]


def test_nothing_arrives_over_a_link_that_never_comes_back() -> None:
    for_good = LinkSpec(10.0, events=(PairEvent(1000 * MS, up=False),))
    assert messages(for_good, 999, 1000, 5000, until_ms=1e7) == [1009.0]
    healed = LinkSpec(10.0, events=(PairEvent(0, up=False), PairEvent(100 * MS, up=True)))
    assert messages(healed, 10) == [240.0]


def test_delay_rate_and_loss_change_at_their_time_and_stay() -> None:
    events = (
        PairEvent(100 * MS, one_way_ms=30.0),
        PairEvent(200 * MS, rate_bps=8_000),
        PairEvent(300 * MS, loss=0.999),
    )
    assert arrivals(LinkSpec(10.0, events=events), [99, 100, 200, 300], 10) == [109.0, 130.0, 240.0, None]


def test_events_of_one_link_move_nothing_on_another() -> None:
    spec, at_ms = LinkSpec(10.0, loss=0.2), [7.0 * number for number in range(430)]
    path, cut, alone = Path(spec, "1/a/b"), Path(LinkSpec(10.0, loss=0.2, events=CUT), "1/b/a"), Path(spec, "1/a/b")
    beside = []
    for at in at_ms:
        beside.append(path.arrives_ns(round(at * MS), 1))
        cut.arrives_ns(round(at * MS), 1)
    assert beside == [alone.arrives_ns(round(at * MS), 1) for at in at_ms]
