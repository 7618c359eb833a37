"""Frames survive any cut of the byte stream, and what is not a frame is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.decoding.sampling import Sampling
from testbed.wire.framing import HEADER_BYTES, MAX_FRAME_BYTES, Frames, ProtocolError, decode, encode
from testbed.wire.messages import Branches, Close, Envelope, Open, Request, Tokens, Validation

MESSAGES: list[Any] = [
    Request(1, (5, 6, 7), 100, Sampling(0.7, 5, 0.9, 3), eos=(0, 2)),
    Tokens(1, 3, (8, 9), final=True),
    Open(2, (1,), 10, Sampling()),
    Branches(2, 4, 17, (), (99,), (0.25,)),
    Branches(2, 5, 17, (4, -1), (99, 7), (0.25, 0.5)),
    Validation(2, 17, (99, 100)),
    Close(2),
]


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_any_cut_of_the_stream_gives_the_same_messages_in_order(messages, cuts):
    stream = b"".join(encode(Envelope(i, i, message)) for i, message in enumerate(messages))
    frames, received, at, turn = Frames(), [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        received += list(frames.feed(stream[at : at + step]))
        at, turn = at + step, turn + 1
    assert [decode(body).message for body in received] == messages
    assert sum(HEADER_BYTES + len(body) for body in received) == len(stream)


def test_a_speculation_fits_in_a_small_packet():
    assert len(encode(Envelope(2**62, 10_000, MESSAGES[3]))) < 64


def test_an_oversized_length_is_refused_before_its_bytes_arrive():
    with pytest.raises(ProtocolError, match="over the limit"):
        list(Frames(MAX_FRAME_BYTES).feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parametrize(
    "body", [b"\xc1", msgspec.msgpack.encode(["nonsense"]), msgspec.msgpack.encode([1, 2, ["no-such-tag"]])]
)
def test_what_is_not_a_message_is_refused(body):
    with pytest.raises(ProtocolError, match="not a message"):
        decode(body)
