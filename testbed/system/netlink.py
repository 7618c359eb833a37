"""rtnetlink as bytes, and a socket that speaks it: many requests in one datagram, one answer to each.

Standard library only: the lab's guest runs it too, and a process that must start at once. Rule kept: every request gets
its own answer, told apart by its sequence number; a request without one is an error and never taken for a success.
Numbers are in host order, attributes padded to four bytes (linux/netlink.h).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from testbed.system.linux import SO_RCVBUFFORCE

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_REPLACE, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x100, 0x300
NLMSG_ERROR, NLMSG_DONE = 0x2, 0x3
NLA_TYPE_MASK = 0x3FFF
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLM_F_CAPPED, NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
# linux/rtnetlink.h
RTM_NEWLINK, RTM_GETLINK, RTM_NEWROUTE, RTM_GETROUTE, RTM_NEWQDISC, RTM_GETQDISC = 16, 18, 24, 26, 36, 38
TCA_KIND, TCA_OPTIONS, TCA_STATS2 = 1, 2, 7
IFLA_IFNAME = 3  # linux/if_link.h

MSG_WAITFORONE = 0x10000  # bits/socket.h: waits for the first message, then takes what is there

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: len, type, flags, seq, pid
TC = struct.Struct("=BxxxiIII")  # struct tcmsg (linux/rtnetlink.h): family, ifindex, handle, parent, info
QDISC = struct.Struct(HEADER.format + TC.format[1:])
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: len, type
IFINFO = struct.Struct("=4xi8x")  # struct ifinfomsg (linux/rtnetlink.h), of which the index
# struct rtmsg (linux/rtnetlink.h): family, dst_len, src_len, tos, table, protocol, scope, type, flags
ROUTE = struct.Struct("=8BI")
LINK_DUMP = struct.Struct(HEADER.format + "16x")
IOVEC = struct.Struct("@PN")  # struct iovec (sys/uio.h): base, len
# struct mmsghdr (bits/socket.h): name, namelen, iov, iovlen, control, controllen, flags; and the length received
MMSGHDR = struct.Struct("@PIPNPNi0PI0P")
BODY = HEADER.size + TC.size  # where the attributes of a traffic control message begin

BATCH_REQUESTS = 100  # a datagram; their answers, about a kilobyte each with the kernel's overhead, fit any buffer
DUMP_BYTES = 1 << 16  # the kernel fills at most 32 KiB a datagram of a dump
ANSWER_BYTES = 1 << 13
RECEIVE_BUFFER_BYTES = 4 << 20
PATIENCE_S = 10
DUMP = 0  # the sequence number of dumps; other requests count from 1


class Refusal(NamedTuple):
    """The kernel's error in answer to one request."""

    number: int
    text: str


Answer = bytes | Refusal  # bytes: the whole message that came back


def attribute(kind: int, payload: bytes) -> bytes:
    """One struct nlattr with its padding."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Payloads of the attributes that follow each other in `data`, by their type."""
    found = {}
    end = len(data)
    while start + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < ATTRIBUTE.size or start + length > end:
            raise ValueError(f"netlink attribute at byte {start} claims {length} bytes of {end - start}")
        found[kind & NLA_TYPE_MASK] = data[start + ATTRIBUTE.size : start + length]
        start += length + (-length % 4)
    return found


def qdisc_request(kind: int, flags: int, sequence: int, ifindex: int, handle: int, parent: int, rest: bytes) -> bytes:
    """An RTM_*QDISC message; `rest` is its attributes."""
    header = (BODY + len(rest), kind, NLM_F_REQUEST | flags, sequence, 0)
    return QDISC.pack(*header, socket.AF_UNSPEC, ifindex, handle, parent, 0) + rest


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and whole text of every message in a datagram."""
    start = 0
    while start < len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        if length < HEADER.size or start + length > len(data):
            raise ValueError(f"netlink message at byte {start} claims {length} bytes of {len(data) - start}")
        yield kind, flags, sequence, data[start : start + length]
        start += length + (-length % 4)


def refusal(flags: int, message: bytes) -> Refusal:
    """What an NLMSG_ERROR message says, with the kernel's own words where it has some (NETLINK_EXT_ACK)."""
    (code,) = struct.unpack_from("=i", message, HEADER.size)
    text = os.strerror(-code)
    if flags & NLM_F_ACK_TLVS:
        (request_bytes,) = struct.unpack_from("=I", message, HEADER.size + 4)
        start = HEADER.size + 4 + (HEADER.size if flags & NLM_F_CAPPED else request_bytes)
        words = attributes(message, start).get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
        text += f": {words.decode(errors='replace')}" if words else ""
    return Refusal(-code, text)


def kept_as_asked(request: bytes, answer: bytes, reset_bytes: int) -> bool:
    """Whether the kernel shows a qdisc's kind and options, byte for byte, as the request set them.

    The last `reset_bytes` of the request only undo what others may have set, and the kernel shows nothing in their
    place. False is a reason to look closer: a kernel may order its attributes in another way.
    """
    end = len(request) - reset_bytes
    options = BODY + (ATTRIBUTE.unpack_from(request, BODY)[0] + 3 & ~3)
    inside = options + ATTRIBUTE.size
    return (
        request[inside:end] == answer[inside:end]
        and request[BODY:options] == answer[BODY:options]
        and answer[options:inside] == ATTRIBUTE.pack(end - options, TCA_OPTIONS)
    )


class RouteSocket:
    """A NETLINK_ROUTE socket; it belongs to the network namespace of the thread that makes it, and stays there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", PATIENCE_S, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        with contextlib.suppress(OSError):  # the ordinary buffer holds a batch of answers too
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        self._inbox = _Inbox(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()

    def exchange(self, requests: Sequence[bytes]) -> list[Answer]:
        """Sends requests that ask for an echo (NLM_F_ECHO), each with its own sequence number.

        Those that ask for no more than an answer (NLM_F_ACK) get a Refusal with number 0 where they succeed.
        """
        answers: dict[int, Answer] = {}
        for start in range(0, len(requests), BATCH_REQUESTS):
            batch = requests[start : start + BATCH_REQUESTS]
            self._socket.send(b"".join(batch))
            awaited = {HEADER.unpack_from(request)[3] for request in batch}
            while awaited:
                for datagram in self._inbox.take():  # an echo and a refusal are separate datagrams
                    length, kind, flags, sequence, _ = HEADER.unpack_from(datagram)
                    if length > len(datagram):
                        raise ValueError(f"netlink answer claims {length} bytes of {len(datagram)}")
                    if sequence in awaited:  # and not an answer to what an earlier call gave up on
                        awaited.remove(sequence)
                        answers[sequence] = refusal(flags, datagram) if kind == NLMSG_ERROR else datagram
        return [answers[HEADER.unpack_from(request)[3]] for request in requests]

    def dump_qdiscs(self) -> list[bytes]:
        """The RTM_NEWQDISC messages of every qdisc in the namespace, with their counters."""
        self._socket.send(qdisc_request(RTM_GETQDISC, NLM_F_DUMP, DUMP, 0, 0, 0, b""))
        return self._dumped()

    def dump_routes(self) -> list[bytes]:
        """The RTM_NEWROUTE messages of every IPv4 route in the namespace."""
        body = ROUTE.pack(socket.AF_INET, *bytes(8))
        header = HEADER.pack(HEADER.size + len(body), RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, DUMP, 0)
        self._socket.send(header + body)
        return self._dumped()

    def _dumped(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            for kind, flags, sequence, message in messages(self._socket.recv(DUMP_BYTES)):
                if sequence != DUMP:  # an answer to what an earlier exchange gave up on
                    continue
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    answer = refusal(flags, message)
                    raise OSError(answer.number, answer.text)
                found.append(message)

    def interfaces(self) -> dict[str, int]:
        """Index of every interface in the namespace, by its name."""
        self._socket.send(LINK_DUMP.pack(LINK_DUMP.size, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, DUMP, 0))
        found = {}
        for message in self._dumped():
            index = IFINFO.unpack_from(message, HEADER.size)[0]
            name = attributes(message, HEADER.size + IFINFO.size)[IFLA_IFNAME]
            found[name.rstrip(b"\0").decode()] = index
        return found

    def carry_out(self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]) -> dict[int, Answer]:
        """Exchanges requests, and returns by position the answers worth a look.

        Those are the `wanted` ones, refusals, and settings that the kernel shows otherwise than they were asked for.
        """
        return {
            position: answer
            for position, (request, answer) in enumerate(zip(requests, self.exchange(requests), strict=True))
            if position in wanted or isinstance(answer, Refusal) or not kept_as_asked(request, answer, reset_bytes)
        }

    def prepare(
        self, requests: Sequence[bytes], reset_bytes: int, wanted: Collection[int]
    ) -> Callable[[], dict[int, Answer]]:
        """`carry_out`, still to be called: this socket has nothing to bring nearer to its kernel beforehand."""
        return functools.partial(self.carry_out, requests, reset_bytes, wanted)


class _Inbox:
    """recvmmsg(2): all waiting answers in one system call, which inside a User-Mode Linux kernel costs 15 us each."""

    def __init__(self, descriptor: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._space = ctypes.create_string_buffer(BATCH_REQUESTS * ANSWER_BYTES)
        space = ctypes.addressof(self._space)
        parts = (IOVEC.pack(space + index * ANSWER_BYTES, ANSWER_BYTES) for index in range(BATCH_REQUESTS))
        self._vectors = ctypes.create_string_buffer(b"".join(parts))
        vectors = ctypes.addressof(self._vectors)
        headers = (MMSGHDR.pack(0, 0, vectors + i * IOVEC.size, 1, 0, 0, 0, 0) for i in range(BATCH_REQUESTS))
        self._headers = ctypes.create_string_buffer(b"".join(headers), BATCH_REQUESTS * MMSGHDR.size)
        self._arguments = (descriptor, self._headers, BATCH_REQUESTS, MSG_WAITFORONE, None)

    def take(self) -> list[bytes]:
        """At least one datagram."""
        while (count := self._libc.recvmmsg(*self._arguments)) < 0:
            number = ctypes.get_errno()
            if number == errno.EINTR:  # a signal, whose handler has had its say: as in PEP 475
                continue
            raise OSError(number, "the kernel does not reply" if number == errno.EAGAIN else os.strerror(number))
        space = memoryview(self._space)
        found = []
        for index in range(count):
            length = MMSGHDR.unpack_from(self._headers, index * MMSGHDR.size)[-1]
            found.append(bytes(space[index * ANSWER_BYTES : index * ANSWER_BYTES + length]))
        return found
