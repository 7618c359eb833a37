"""The ends of the flows that the bench measures, each a process in a node: `python -m testbed.bench.traffic`.

Standard library only, to start at once. A receiver says `ready` on stdout when packets may come, and its result at the
end; a sender says what it has sent. Both go before other ordinary programs where they may: what is to be measured is
the network, and not who else wants the processor.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable

from testbed.system.linux import SO_RCVBUFFORCE

UDP_PORT, TCP_PORT = 7011, 7012  # inside the nodes' own namespaces
PAYLOAD = bytes(36)  # with IPv4 and UDP headers a packet of 64 bytes
BURST = 16  # packets between two looks at the clock
CHUNK_BYTES = 1 << 18
SILENCE_S = 1.0  # after which a receiver of datagrams takes them to be over
RECEIVE_BUFFER_BYTES = 8 << 20


def flood(address: str, seconds: str) -> str:
    """Small packets as fast as they go."""
    sent, end = 0, time.monotonic() + float(seconds)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((address, UDP_PORT))
        while time.monotonic() < end:
            for _ in range(BURST):
                out.send(PAYLOAD)
            sent += BURST
    return str(sent)


def sink() -> str:
    """Takes datagrams off the network and looks at none; ends when it is ended."""
    with _datagrams():
        _ready()
        time.sleep(600)
    return ""


def number(address: str, seconds: str, per_second: str) -> str:
    """Numbered packets at a steady rate."""
    start, interval_s = time.monotonic(), 1 / float(per_second)
    count = round(float(seconds) * float(per_second))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for index in range(count):
            time.sleep(max(0.0, start + index * interval_s - time.monotonic()))
            out.sendto(index.to_bytes(4, "big"), (address, UDP_PORT))
    return str(count)


def collect() -> str:
    """How many different numbers came, and how many of them after a later one."""
    numbers = []
    with _datagrams() as incoming:
        _ready()
        incoming.settimeout(None)
        while True:
            try:
                numbers.append(int.from_bytes(incoming.recv(64), "big"))
            except TimeoutError:
                break
            incoming.settimeout(SILENCE_S)
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(numbers))
    return f"{len(set(numbers))} {overtaken}"


def send(address: str, seconds: str) -> str:
    """One TCP flow as fast as it goes."""
    sent, chunk, end = 0, bytes(CHUNK_BYTES), time.monotonic() + float(seconds)
    with socket.create_connection((address, TCP_PORT)) as out:
        while time.monotonic() < end:
            out.sendall(chunk)
            sent += CHUNK_BYTES
    return str(sent)


def receive() -> str:
    """Bits a second of one TCP flow, from its first byte to its last."""
    with socket.create_server(("", TCP_PORT)) as listening:
        _ready()
        incoming, _ = listening.accept()
        with incoming:
            received, buffer = incoming.recv_into(bytearray(CHUNK_BYTES)), bytearray(CHUNK_BYTES)
            start = time.monotonic()
            while size := incoming.recv_into(buffer):
                received += size
    return str(round(received * 8 / (time.monotonic() - start)))


def _datagrams() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.suppress(PermissionError):  # an ordinary user keeps the usual buffer
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    made.bind(("", UDP_PORT))
    return made


def _ready() -> None:
    print("ready", flush=True)


VERBS: dict[str, Callable[..., str]] = {
    "flood": flood,
    "sink": sink,
    "number": number,
    "collect": collect,
    "send": send,
    "receive": receive,
}

if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.nice(-19)
    print(VERBS[sys.argv[1]](*sys.argv[2:]))
