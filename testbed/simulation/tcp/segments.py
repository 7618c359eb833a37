"""What TCP sends: segments of at most 1448 bytes, each with the messages that end in it.

Rule kept: small messages that wait for the congestion window share a segment, as Linux fills the last unsent one
(tcp_sendmsg, net/ipv4/tcp.c); with TCP_NODELAY nothing else waits for company.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MSS_BYTES = 1448  # 1500 bytes of IP less 20 + 20 of headers and 12 of timestamps (RFC 7323)
HEADER_BYTES = 52 + 14  # of a segment on a link with a rate: IP, TCP with timestamps, Ethernet
INITIAL_WINDOW = 10  # segments (RFC 6928; TCP_INIT_CWND, include/net/tcp.h)

Delivered = Callable[[Any], object]


class Segment:
    """`number` counts from 0 in each direction; the rest is what the sender knows of it."""

    __slots__ = ("lost", "messages", "number", "resent", "retransmitted", "sacked", "sent_ns", "size_bytes")

    def __init__(self, number: int) -> None:
        self.number = number
        self.size_bytes = 0
        self.messages: list[tuple[Delivered, Any]] = []
        self.sent_ns = 0  # last
        self.sacked = False
        self.lost = False  # as the sender believes
        self.resent = False  # a retransmission is under way
        self.retransmitted = False  # ever

    def fill(self, left_bytes: int) -> int:
        """Takes what there is room for; returns what is left."""
        taken = min(left_bytes, MSS_BYTES - self.size_bytes)
        self.size_bytes += taken
        return left_bytes - taken

    def before(self, sent_ns: int, number: int) -> bool:
        """Sent before that one (tcp_skb_sent_after, include/net/tcp.h)."""
        return self.sent_ns < sent_ns or (self.sent_ns == sent_ns and self.number < number)
