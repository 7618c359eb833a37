"""Streams ten words to whoever asks, a word every 20 ms: `python service/server.py PORT`."""

import socketserver
import sys
import time

PACE_S = 0.02
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


class Stream(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1024)
        for word in WORDS:
            self.request.sendall(f"{word}\n".encode())
            time.sleep(PACE_S)


if __name__ == "__main__":
    with Server(("", int(sys.argv[1])), Stream) as server:
        server.serve_forever()
