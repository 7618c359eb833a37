"""What the kernel says of a TCP connection (TCP_INFO), and what TCP's timers must be in a run: pure, but for `of`.

Rule kept: what was asked of the kernel, by routes, is read back from the connections themselves.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

# RFC 6298 wants a second; Linux has had 200 ms since 2.4 (include/net/tcp.h, TCP_RTO_MIN), and never waits longer than
# 120 s (TCP_RTO_MAX), which cannot be raised
LEAST_TIMEOUT_MS: Final = 200.0
LONGEST_TIMEOUT_S: Final = 120.0
JIFFY_MS: Final = 10.0  # the longest there is: timeouts are whole ones

INFO_BYTES = 256
# struct tcp_info, linux/tcp.h: in microseconds; in segments
RTO, TOTAL_RETRANSMITTED, DUPLICATES = (struct.Struct(f"={offset}xI") for offset in (8, 100, 216))


class TcpState(NamedTuple):
    """Of one connection. Of the segments sent again, `duplicates` had arrived before, as the other side has said."""

    timeout_ms: float
    sent_again: int
    duplicates: int

    def since(self, before: TcpState) -> TcpState:
        """Counted from `before`; a connection made since counts from its start."""
        if before.sent_again > self.sent_again:
            return self
        return TcpState(
            self.timeout_ms, self.sent_again - before.sent_again, max(0, self.duplicates - before.duplicates)
        )


NONE_SENT_AGAIN: Final = TcpState(0.0, 0, 0)


def parse(info: bytes) -> TcpState:
    """Struct tcp_info; what an older kernel does not say is 0."""
    (timeout_us,), (sent_again,) = RTO.unpack_from(info), TOTAL_RETRANSMITTED.unpack_from(info)
    duplicates = DUPLICATES.unpack_from(info)[0] if len(info) >= DUPLICATES.size else 0
    return TcpState(timeout_us / 1e3, sent_again, duplicates)


def of(sock: socket.socket) -> TcpState:
    return parse(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES))


def least_timeout_ms(dilation: float) -> float:
    """By the machine's clock: no retransmission timeout of a run at this dilation may be shorter."""
    return LEAST_TIMEOUT_MS * dilation


def longest_timeout_s(dilation: float) -> float:
    """In virtual time: no connection tries again later than this."""
    return LONGEST_TIMEOUT_S / dilation


def longest_cut_s(dilation: float, rtt_ms: float) -> float:
    """The longest cut of a link, in virtual time, after which TCP comes back as it would undilated.

    A connection doubles its timeout while its link is cut, so the one in which the link comes back is as long as the
    cut and the first together; it must not reach the longest that the kernel allows.
    """
    first_s = (LEAST_TIMEOUT_MS + 2 * rtt_ms) / 1e3
    return longest_timeout_s(max(dilation, 1.0)) - first_s  # faster than life it would wait longer than in life
