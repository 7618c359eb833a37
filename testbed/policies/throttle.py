"""Something that changes is said when it has changed, and not too often: for reports of load."""

from __future__ import annotations

from testbed.policies.api import SetTimer


class Throttle:
    """`timer`: the name of its timer, whose ringing is to be told by `rang`."""

    def __init__(self, timer: str, every_ms: float, said: object) -> None:
        self.timer = timer
        self._every_ms = every_ms
        self._said = said
        self._free_at = 0.0  # when it may be said again
        self._set = False  # the timer is

    def rang(self, now: float) -> None:
        self._set = False
        self._free_at = now  # a timer rings at its nanosecond, which may lie before the float it was set to

    def say(self, what: object, now: float) -> bool | SetTimer:
        """Whether it is to be said now; a timer: when to ask again."""
        if self._set or what == self._said:
            return False
        if now < self._free_at:
            self._set = True
            return SetTimer(self.timer, self._free_at)
        self._said, self._free_at = what, now + self._every_ms
        return True
