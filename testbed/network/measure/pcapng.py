"""Captured packets as pcapng, which Wireshark reads: several interfaces in one file, times in nanoseconds.

Pure: bytes out, no file. Blocks as in draft-ietf-opsawg-pcapng, in this machine's byte order, as its magic says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

SECTION, INTERFACE, ENHANCED_PACKET = 0x0A0D0D0A, 1, 6  # block types
BYTE_ORDER_MAGIC = 0x1A2B3C4D
OPTION_END = 0
COMMENT = 1  # opt_comment
COMMENT_BYTES = 256  # of the section, so that it can be written again when all is known
SECTION_APPLICATION = 4  # shb_userappl
INTERFACE_NAME, INTERFACE_DESCRIPTION, INTERFACE_RESOLUTION = 2, 3, 9  # if_name, if_description, if_tsresol
PACKET_FLAGS = 2  # epb_flags; the lowest two bits say which way
INBOUND, OUTBOUND = 1, 2
NANOSECONDS = b"\x09"  # if_tsresol: negative power of ten

# linktypes of tcpdump.org: an Ethernet frame; an IP packet without anything before it
LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101


def section(application: str, comment: str) -> bytes:
    """The head of a file, as long for every comment; the length of all that follows is left open."""
    body = struct.pack("=IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
    said = comment.encode("ascii", "replace")[:COMMENT_BYTES].ljust(COMMENT_BYTES)
    return _block(SECTION, body + _options([(COMMENT, said), (SECTION_APPLICATION, application.encode())]))


def interface(name: str, description: str, linktype: int, snap_bytes: int) -> bytes:
    """Describes the next interface; the first one described is number 0."""
    options = [
        (INTERFACE_NAME, name.encode()),
        (INTERFACE_DESCRIPTION, description.encode()),
        (INTERFACE_RESOLUTION, NANOSECONDS),
    ]
    return _block(INTERFACE, struct.pack("=HHI", linktype, 0, snap_bytes) + _options(options))


def packet(number: int, time_ns: int, data: bytes, original_bytes: int, outbound: bool) -> bytes:
    """One packet seen at interface `number`, at so many nanoseconds since 1970."""
    head = struct.pack("=IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), original_bytes)
    flags = struct.pack("=I", OUTBOUND if outbound else INBOUND)
    return _block(ENHANCED_PACKET, head + _padded(data) + _options([(PACKET_FLAGS, flags)]))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    written = b"".join(struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options)
    return written + struct.pack("=HH", OPTION_END, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
