"""Whether a new request is worth a worker at all: the run-time switch-off that the paper advises for long round trips.

Rule kept: what decides is what workers did, the share of verified drafts that came from them, not a distance. Every so
often a request tries again, so a link that recovers is found out.
"""

from __future__ import annotations

from collections import deque

WINDOW = 8  # requests
FLOOR = 0.1  # share of the verified drafts below which a worker is not worth its passes
RETRY = 8  # of so many requests one still gets a worker


class WorkerSwitch:
    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._shares: deque[float] = deque(maxlen=WINDOW)
        self._without = 0  # requests since the last one with a worker

    def use(self) -> bool:
        """Asked once a new request."""
        full = len(self._shares) == WINDOW
        if not self._enabled or not full or sum(self._shares) >= FLOOR * WINDOW or self._without >= RETRY - 1:
            self._without = 0
            return True
        self._without += 1
        return False

    def finished(self, remote: int, verified: int) -> None:
        """A request with a worker is over: `remote` of its `verified` drafts were the worker's."""
        if verified:
            self._shares.append(remote / verified)
