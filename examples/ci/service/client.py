"""Asks the server, and prints what came and when, as JSON: `python service/client.py HOST PORT`."""

import json
import socket
import sys
import time

PATIENCE_S = 30


def connected(host: str, port: int) -> socket.socket:
    """The server may still be starting."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection((host, port), timeout=PATIENCE_S)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def main() -> None:
    with connected(sys.argv[1], int(sys.argv[2])) as connection:
        sent = time.monotonic()
        connection.sendall(b"please\n")
        arrivals, text = [], b""
        while data := connection.recv(1024):
            arrivals.append(1000 * (time.monotonic() - sent))
            text += data
    print(json.dumps({"words": text.decode().split(), "first_ms": arrivals[0], "last_ms": arrivals[-1]}))


if __name__ == "__main__":
    main()
