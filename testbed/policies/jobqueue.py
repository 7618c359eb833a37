"""The queue in front of one node's device, as its role sees it: one job at a time, requests served round-robin.

Rule kept: no second job is issued while one is outstanding, and a request that was just served goes to the end of the
line, so concurrent requests share the device fairly and none depends on another's tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from testbed.policies.api import Command, Draft, DraftReady, DraftTree, TreeDraftReady, Verify, VerifyReady, VerifyTree

State = TypeVar("State")


class JobQueue(Generic[State]):
    def __init__(self) -> None:
        self._line: dict[int, State] = {}  # by request, longest unserved first
        self._jobs = 0
        self._outstanding: int | None = None

    @property
    def busy(self) -> bool:
        return self._outstanding is not None

    def open(self, request: int, state: State) -> None:
        self._line[request] = state

    def close(self, request: int) -> None:
        self._line.pop(request, None)

    def get(self, request: int) -> State | None:
        """None once the request is closed: what still arrives for it is late, not wrong."""
        return self._line.get(request)

    def finished(self, event: DraftReady | TreeDraftReady | VerifyReady) -> State | None:
        """The device is free again; whose result this is."""
        if event.job != self._outstanding:
            raise ValueError(f"job {event.job} finished while job {self._outstanding} was outstanding")
        self._outstanding = None
        return self._line.get(event.request)

    def start(self, ask: Callable[[State, int], Draft | Verify | DraftTree | VerifyTree | None]) -> list[Command]:
        """Ask the requests in line for a job, by its number, until one has something to do."""
        if self._outstanding is not None:
            return []
        for request, state in self._line.items():
            command = ask(state, self._jobs)
            if command is not None:
                self._outstanding = command.job
                self._jobs += 1
                if len(self._line) > 1:
                    self._line[request] = self._line.pop(request)
                return [command]
        return []
