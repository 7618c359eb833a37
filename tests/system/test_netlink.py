"""rtnetlink as bytes: lengths, padding and answers, so that no answer is taken for another or for a success."""

import errno
import signal
import socket
import struct

import pytest

from testbed.system.netlink import (
    BODY,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_ECHO,
    NLMSG_ERROR,
    RTM_GETQDISC,
    RTM_NEWQDISC,
    TCA_KIND,
    TCA_OPTIONS,
    Refusal,
    RouteSocket,
    _Inbox,
    attribute,
    attributes,
    kept_as_asked,
    messages,
    qdisc_request,
    refusal,
)


def test_an_attribute_counts_its_header_and_not_its_padding() -> None:
    assert attribute(1, b"netem\0") == struct.pack("=HH6s2x", 10, 1, b"netem\0")


def test_attributes_come_back_without_flags_and_padding() -> None:
    nested_flag = 0x8000  # NLA_F_NESTED, linux/netlink.h
    data = attribute(1, b"abc") + attribute(2 | nested_flag, b"") + attribute(3, b"12345678")
    assert attributes(data) == {1: b"abc", 2: b"", 3: b"12345678"}


@pytest.mark.parametrize("length", [0, 3, 20])
def test_an_attribute_that_does_not_fit_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="attribute at byte 0"):
        attributes(struct.pack("=HH4x", length, 1))


def test_a_request_is_nlmsghdr_then_tcmsg_then_attributes() -> None:
    """struct nlmsghdr of linux/netlink.h and struct tcmsg of linux/rtnetlink.h, by hand."""
    rest = attribute(TCA_KIND, b"pfifo\0")
    nlmsghdr = struct.pack("=IHHII", 16 + 20 + 12, 36, 0x1 | 0x8, 7, 0)  # RTM_NEWQDISC; NLM_F_REQUEST, NLM_F_ECHO
    tcmsg = struct.pack("=BBHiIII", 0, 0, 0, 5, 0x1000000, 0x10100, 0)
    assert qdisc_request(RTM_NEWQDISC, NLM_F_ECHO, 7, 5, 0x1000000, 0x10100, rest) == nlmsghdr + tcmsg + rest


def test_messages_of_one_datagram_come_apart_again() -> None:
    requests = [qdisc_request(RTM_NEWQDISC, 0, n, n, 0, 0, attribute(1, bytes(n))) for n in range(5)]
    assert [(sequence, text) for _, _, sequence, text in messages(b"".join(requests))] == list(enumerate(requests))


def test_a_datagram_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="claims 36 bytes of 30"):
        list(messages(qdisc_request(RTM_NEWQDISC, 0, 1, 1, 0, 0, b"")[:30]))


@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_carries_the_kernels_own_words(capped: bool) -> None:
    """struct nlmsgerr of linux/netlink.h: the error, then the request's header, or all of it, then attributes."""
    request = qdisc_request(RTM_NEWQDISC, 0, 3, 1, 0, 0, attribute(1, b"netem\0"))
    told = request[:16] if capped else request
    body = struct.pack("=i", -errno.ENOENT) + told + attribute(1, b"Specified qdisc not found\0")
    message = struct.pack("=IHHII", 16 + len(body), NLMSG_ERROR, 0, 3, 0) + body
    flags = NLM_F_ACK_TLVS | (NLM_F_CAPPED if capped else 0)
    answer = refusal(flags, message)
    assert answer == Refusal(errno.ENOENT, "No such file or directory: Specified qdisc not found")
    assert refusal(0, message).text == "No such file or directory"


def setting(options: bytes, kind: bytes = b"netem\0", more: bytes = b"") -> bytes:
    return qdisc_request(
        RTM_NEWQDISC, 0, 1, 1, 0, 0, attribute(TCA_KIND, kind) + attribute(TCA_OPTIONS, options) + more
    )


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (setting(b"abcdefgh", more=attribute(7, b"counters")), True),
        (setting(b"abcdefgX"), False),
        (setting(b"abcd"), False),  # a setting that the kernel has left out
        (setting(b"abcdefghRST."), False),  # something that should have been undone and is still there
        (setting(b"abcdefgh", kind=b"pfifo\0"), False),
    ],
)
def test_only_the_same_kind_and_options_count_as_kept(answer: bytes, kept: bool) -> None:
    assert kept_as_asked(setting(b"abcdefghRST."), answer, reset_bytes=4) is kept
    assert BODY == 36


def test_an_answer_that_came_too_late_is_no_part_of_the_next_dump() -> None:
    """Asks the kernel, and only reads: about an interface that is not there, then for those that are."""
    route = RouteSocket()
    try:
        route._socket.send(qdisc_request(RTM_GETQDISC, NLM_F_ECHO, 7, 1 << 30, 0, 0, b""))
        assert "lo" in route.interfaces()
    finally:
        route.close()


def test_a_signal_does_not_end_the_wait_for_an_answer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    before = signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"answer"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert _Inbox(ours.fileno()).take() == [b"answer"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        ours.close()
        theirs.close()
