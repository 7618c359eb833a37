"""Reads the figures of a table one by one, and keeps count of what was left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn

from testbed.files.reading import refuse_file
from testbed.files.yamlfile import said
from testbed.network.imports.cells import figure, scale_of, tidy, unit_of
from testbed.network.imports.found import Options

LEAST_PLAUSIBLE_MS = 1.0  # a median below says that the unit is another one
TWICE = "is there twice with different figures; remove one, or say --repeats median"


@dataclass
class Reader:
    """Of one file. `unit`: of its figures, as a heading says it."""

    path: Path
    style: str
    options: Options
    unit: str | None
    zeros_are_none: bool = False

    def __post_init__(self) -> None:
        self.inside: list[float] = []
        self.zeros = self.none = 0
        self.said_units = self.unit is not None or self.options.unit is not None
        try:
            self._scale = scale_of(self.options.unit or self.unit or "ms")
        except ValueError as error:
            refuse_file(self.path, f"--unit: {error}")

    def read(self, line: int, a: str, b: str, cell: str) -> float | None:
        """Milliseconds between two regions, or None; what lies inside a region is kept apart."""
        try:
            value = figure(cell, self.style, self._scale)
        except ValueError as error:
            self._refuse(line, a, b, cell, error)
        if value is not None and unit_of(tidy(cell))[1] is not None:
            self.said_units = True
        if a == b:
            if value:
                self.inside.append(value)
            return None
        if value is None:
            self.none += 1
            return None
        if value == 0:
            if not self.zeros_are_none and self.options.zeros != "missing":
                fix = "if that means that there is no figure, say --zeros missing"
                refuse_file(self.path, f"{a} -> {b} is 0 ms; {fix}", line)
            self.zeros += 1
            return None
        return value

    def check(self, given: Iterable[list[tuple[int, float]]]) -> None:
        """BadInput where figures without a unit are hardly milliseconds."""
        values = [value for several in given for _, value in several]
        if not self.said_units and median(values) < LEAST_PLAUSIBLE_MS:
            fix = "say --unit s, or --unit ms if that is right"
            refuse_file(self.path, f"half of the figures are below {LEAST_PLAUSIBLE_MS:g} and none has a unit; {fix}")

    def notes(self) -> list[str]:
        told = []
        if self.none:
            told.append(f"{self.none} cells without a figure")
        if self.zeros:
            told.append(f"{self.zeros} figures of 0 are none")
        if self.inside:
            told.append(f"{len(self.inside)} figures inside one region, median {median(self.inside):g} ms")
        return told

    def _refuse(self, line: int, a: str, b: str, cell: str, error: ValueError) -> NoReturn:
        refuse_file(self.path, f"{a} -> {b} is {said(cell)}; {error}", line)
