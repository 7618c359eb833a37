"""Runs emulated points one at a time: each is an ordinary run with its own directory inside the sweep's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from testbed.errors import MachineCannot, TestbedError
from testbed.experiment.compute import NodeChoice
from testbed.experiment.progress import Silent
from testbed.experiment.scenario import Scenario
from testbed.experiment.timing import Time
from testbed.network.capabilities import FabricChoice
from testbed.sweeps.plan import Point
from testbed.sweeps.point import PointResult


class Notes(Protocol):
    def note(self, text: str) -> None: ...


class _Quiet(Silent):
    """Of a point's own progress only its notes are shown: the sweep counts points, not requests."""

    def __init__(self, point: Point, notes: Notes) -> None:
        self._point, self._notes = point, notes

    def note(self, text: str) -> None:
        self._notes.note(f"{self._point.name}: {text}")

    def phase(self, label: str, repeat: int, requests: int) -> None:
        self.note(f"{label}: {requests} requests" + (f", repeat {repeat + 1}" if repeat else ""))


def results(
    points: Sequence[Point],
    metrics: Sequence[str],
    fabric: FabricChoice,
    runs: Path,
    notes: Notes,
    nodes: NodeChoice = "auto",
    dilation: float | None = None,
) -> Iterator[list[PointResult]]:
    """A point that fails is its own result. What this machine cannot do at all ends the sweep: MachineCannot.

    All points have one dilation: where the testbed is to choose, that of the first, or `dilation` of one before.
    """
    from testbed.emulation import engine

    for point in points:
        try:
            options = engine.Options(fabric=fabric, out=runs, nodes=nodes)
            outcome = engine.run(at(point.scenario, dilation), options, _Quiet(point, notes))
        except MachineCannot:
            raise
        except TestbedError as error:
            yield [PointResult(point.run_id, error=str(error))]
            continue
        summary = outcome.summary
        dilation = summary["clock"]["dilation"]
        yield [
            PointResult(
                point.run_id,
                valid=summary["validity"]["valid"],
                reasons=tuple(summary["validity"]["reasons"]),
                lossless_checked=summary["lossless"]["checked"],
                lossless_equal=summary["lossless"]["equal"],
                directory=outcome.directory.name,
                dilation=dilation,
                policies={
                    label: {tag: known.get(tag) for tag in metrics} for label, known in summary["policies"].items()
                },
            )
        ]


def at(scenario: Scenario, dilation: float | None) -> Scenario:
    """The experiment with this dilation, where it leaves the choice."""
    if dilation is None or scenario.time.given is not None:
        return scenario
    return scenario.model_copy(update={"time": Time(dilation=dilation)})
