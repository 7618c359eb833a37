"""Recorded compute: what each node is told of the decode table that stands in for its models.

Rule kept: a node has the outputs of the requests that its device meets and no others, so that hundreds of nodes fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from testbed.emulation.inputs import Inputs
from testbed.files.whole import writing
from testbed.nodes.control import Bound
from testbed.tables.carried import carry
from testbed.tables.table import DecodeTable, output_key
from testbed.workload.planned import PlannedRequest, by_user


class Answers:
    """Of one run; without a table nothing is recorded and models run."""

    def __init__(self, inputs: Inputs) -> None:
        self._table: DecodeTable | None = None if inputs.recorded is None else inputs.recorded.table
        self._inputs = inputs
        self._users = [name for name, (role, _) in inputs.scenario.place.nodes().items() if role == "user"]

    def write(self, node: str, folder: Path) -> str:
        """The node's file, by its path; empty where models run."""
        if self._table is None:
            return ""
        repeats = range(self._inputs.scenario.repeats)
        met = [one for repeat in repeats for one in self._met(node, self._inputs.plan(1, repeat))]
        path = folder / f"{node}.answers"
        with writing(path):
            path.write_bytes(carry(self._table, (output_key(one.prompt_id, one.sampling) for one in met)))
        return str(path)

    def bound(self, node: str, planned: Sequence[PlannedRequest]) -> list[Bound]:
        """Of one trial."""
        if self._table is None:
            return []
        return [Bound(one.request, one.prompt_id, one.sampling) for one in self._met(node, planned)]

    def _met(self, node: str, planned: Sequence[PlannedRequest]) -> Iterable[PlannedRequest]:
        """A user's own device only meets that user's requests."""
        return by_user(planned, self._users)[node] if node in self._users else planned
