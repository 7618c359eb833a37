"""A packet-delivery trace of Mahimahi: a line per chance to deliver 1,500 bytes, its millisecond; it starts over after
the last. Becomes the rate of a link over time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from testbed.errors import BadInput
from testbed.files.reading import refuse_file
from testbed.files.refusals import Refusals
from testbed.files.yamlfile import said

BITS = 1500 * 8  # of one chance
MOST_DIGITS = 10  # of a millisecond: four months
MOST_STEPS = 100_000


class Rate(NamedTuple):
    at_s: float
    mbit: float


def looks(text: str) -> bool:
    """Whether lines are whole numbers, but for a few."""
    lines = [line.strip() for line in text.splitlines()[:2_000] if line.strip()]
    return len(lines) > 1 and sum(line.isdigit() for line in lines) >= 0.9 * len(lines)


def chances(text: str, path: Path) -> list[int]:
    """The milliseconds, in order. Raises BadInput for anything else."""
    found: list[int] = []
    refusals = Refusals(path)
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if not word:
            continue
        with refusals.one():
            if re.match(r"#|[0-9]+ [+#d-]", word):
                refuse_file(
                    path, "is the log of a link and not its trace; take the file that mm-link was given", number
                )
            if not word.isascii() or not word.isdigit():
                fix = "round it to whole milliseconds" if re.fullmatch(r"[0-9]*\.[0-9]+", word) else "write one a line"
                refuse_file(path, f"{said(word)} is not a whole number of milliseconds; {fix}", number)
            if len(word) > MOST_DIGITS:
                refuse_file(path, f"{said(word)} ms is years away; are these milliseconds?", number)
            if found and int(word) < found[-1]:
                refuse_file(path, f"time goes backwards: {word} ms after {found[-1]} ms; sort the file", number)
            found.append(int(word))
    refusals.settle()
    if not found:
        refuse_file(path, "holds no chance to deliver a packet", 1)
    if not found[-1]:
        refuse_file(path, "ends at 0 ms, so it would start over at once; a trace must last", len(text.splitlines()))
    return found


def rates(found: Sequence[int], step_s: float) -> list[Rate]:
    """The mean rate of each step; a last one that is not whole counts for what there is of it.

    BadInput where there are too many.
    """
    step_ms, end_ms = round(step_s * 1000), found[-1]
    # a chance at millisecond t belongs to what ends there, as the one at the end does
    counted = Counter(max(0, at - 1) // step_ms for at in found)
    steps = -(-end_ms // step_ms)
    if steps > MOST_STEPS:
        raise BadInput(f"a trace of {end_ms / 1000:g} s has {steps} steps of {step_s:g} s; take a longer --step-s")
    lengths = (min(step_ms, end_ms - number * step_ms) for number in range(steps))
    return [
        Rate(number * step_ms / 1000, round(counted[number] * BITS / length / 1000, 6))
        for number, length in enumerate(lengths)
    ]
