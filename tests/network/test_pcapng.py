"""A capture file is what the pcapng draft says, block by block, read here with nothing of our own writer."""

import struct

from testbed.network.measure import pcapng


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        kind, length = struct.unpack_from("=II", data)
        assert length % 4 == 0
        assert struct.unpack_from("=I", data, length - 4)[0] == length, "a block ends with its length"
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def options(data: bytes) -> dict[int, bytes]:
    found = {}
    while True:
        code, length = struct.unpack_from("=HH", data)
        if code == 0:
            assert data[4:] == b"", "nothing follows the end of options"
            return found
        found[code] = data[4 : 4 + length]
        data = data[4 + length + (-length % 4) :]


def test_a_file_begins_with_a_section_and_its_interfaces_in_nanoseconds() -> None:
    data = pcapng.section("x", "so") + pcapng.interface("n0 eth0", "as n0 sees it", pcapng.LINKTYPE_RAW, 65535)
    (section, head), (interface, described) = blocks(data)
    assert (section, interface) == (0x0A0D0D0A, 1)
    assert struct.unpack_from("=IHHq", head) == (0x1A2B3C4D, 1, 0, -1)
    assert options(head[16:]) == {1: b"so".ljust(pcapng.COMMENT_BYTES), 4: b"x"}
    assert struct.unpack_from("=HHI", described) == (101, 0, 65535)
    assert options(described[8:]) == {2: b"n0 eth0", 3: b"as n0 sees it", 9: b"\x09"}


def test_a_packet_keeps_its_time_to_the_nanosecond_its_length_and_its_way() -> None:
    time_ns = 1_790_000_000_123_456_789
    ((kind, body),) = blocks(pcapng.packet(1, time_ns, b"abcde", 1500, outbound=True))
    number, high, low, captured, original = struct.unpack_from("=IIIII", body)
    assert (kind, number, captured, original) == (6, 1, 5, 1500)
    assert high << 32 | low == time_ns
    assert body[20:28] == b"abcde\0\0\0"
    assert options(body[28:]) == {2: struct.pack("=I", 2)}


def test_a_comment_is_written_over_another_one_of_any_length() -> None:
    heads = [pcapng.section("x", text) for text in ("", "short", "long " * 200, "\u00fc")]
    assert len({len(head) for head in heads}) == 1
