"""The table of claims: Markdown between two markers of `docs/reproduction.md`, and the same for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

from testbed.errors import BadInput
from testbed.files.reading import read_text
from testbed.files.whole import replacing
from testbed.reproduce.claims import Claim, Claims, Figure, Value
from testbed.reproduce.value import Ours
from testbed.reproduce.verdict import Verdict, verdicts

FILE = "reproduction.md"
HEADINGS = ("claim", "the paper", "quantity", "range", "simulation", "emulation", "valid", "why they differ")
UNDEFINED = "-"
SIMULATION, EMULATION = "simulation", "emulation"


@dataclass(frozen=True)
class Found:
    """One value of one claim, in each engine that has it."""

    claim: Claim
    value: Value
    simulation: Ours
    emulation: Ours | None

    @property
    def valid(self) -> bool:
        return all(ours.valid for _, ours in self.engines())

    def engines(self) -> list[tuple[str, Ours]]:
        """Those that have it."""
        emulation = [] if self.emulation is None else [(EMULATION, self.emulation)]
        return [(SIMULATION, self.simulation), *emulation]


@dataclass(frozen=True)
class Reproduction:
    """What `testbed reproduce` found and wrote."""

    name: str
    claims: Claims
    found: Sequence[Found]
    figures: Sequence[Path]
    document: Path
    sweeps_valid: bool

    @property
    def valid(self) -> bool:
        return self.sweeps_valid and all(one.valid for one in self.found)

    @cached_property
    def verdicts(self) -> dict[tuple[int, str], Verdict]:
        """By place in `found` and engine: one family, as they stand in one table."""
        each = [(at, engine, ours) for at, one in enumerate(self.found) for engine, ours in one.engines()]
        judged = verdicts([(ours, self.found[at].value) for at, _, ours in each])
        return {(at, engine): verdict for (at, engine, _), verdict in zip(each, judged, strict=True)}

    @property
    def tested(self) -> int:
        return sum(one.p is not None for one in self.verdicts.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "valid": self.valid,
            "document": str(self.document),
            "figures": [str(path) for path in self.figures],
            "values": [
                {
                    "claim": one.claim.id,
                    "value": one.value.name,
                    "range": one.value.range,
                    SIMULATION: _ours(one.simulation, self.verdicts[at, SIMULATION]),
                    EMULATION: None if one.emulation is None else _ours(one.emulation, self.verdicts[at, EMULATION]),
                }
                for at, one in enumerate(self.found)
            ],
        }


def _ours(ours: Ours, verdict: Verdict) -> dict[str, Any]:
    return {
        "number": ours.number,
        "interval": ours.interval,
        "bound": ours.bound,
        "within": verdict.within,
        "p": verdict.p,
        "p_corrected": verdict.corrected,
        "valid": ours.valid,
        "rows": ours.rows,
    }


def markdown(result: Reproduction, figures: Sequence[tuple[Figure, str]]) -> str:
    """The section's text; `figures` come with their paths from the document."""
    claims = result.claims
    lines = [
        f"{claims.title} ({claims.cite}). Written by `testbed reproduce {result.name}`: edit its claims, not this.",
        *(["", claims.text.strip()] if claims.text else []),
        "",
        "Brackets: 95 % interval over prompts, or the middle half where the number is a median over several points. "
        f"In or OUT: inside or outside the range; *surely*: still so at 5 % after Holm's correction for the "
        f"{result.tested} values here that have both a range and an interval.",
    ]
    for part in (None, *claims.parts):
        title = None if part is None else part.title
        found = [(at, one) for at, one in enumerate(result.found) if one.claim.part == title]
        if part is not None:
            lines += ["", f"### {part.title}", *(["", part.text.strip()] if part.text else [])]
        if found:
            lines += ["", *_rows(found, result.verdicts)]
        for spec, path in figures:
            if spec.part == title:
                lines += ["", f"![{spec.title}]({path})", *(["", spec.note.strip()] if spec.note else [])]
    return "\n".join(lines)


def _rows(found: Sequence[tuple[int, Found]], verdicts: Mapping[tuple[int, str], Verdict]) -> list[str]:
    """One row a value; what is the claim's stands in its first."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "|".join([" :-- "] * len(HEADINGS)) + "|"]
    for index, (at, one) in enumerate(found):
        first = index == 0 or found[index - 1][1].claim is not one.claim
        claim = one.claim
        cells = (
            claim.id if first else "",
            (f"{claim.paper} ({claim.source})" if claim.source else claim.paper) if first else "",
            f"{one.value.name}, {_whose(one.value)}",
            _range(one.value),
            _number(one.simulation, one.value, verdicts[at, SIMULATION]),
            UNDEFINED if one.emulation is None else _number(one.emulation, one.value, verdicts[at, EMULATION]),
            "yes" if one.valid else "NO",
            claim.why if first else "",
        )
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return lines


def put(document: Path, name: str, title: str, text: str) -> None:
    """Replaces what stands between this name's markers; a document without them gets the section at its end."""
    begin, end = f"<!-- begin {name}: made by testbed reproduce -->", f"<!-- end {name} -->"
    old = read_text(document) if document.exists() else "# Reproduction of published results\n"
    if (old.count(begin), old.count(end)) == (0, 0):
        old = f"{old.rstrip()}\n\n## {title}\n\n{begin}\n{end}\n"
    if (old.count(begin), old.count(end)) != (1, 1) or old.index(begin) > old.index(end):
        raise BadInput(f"{document}: needs the line {begin!r} once, and after it {end!r} once")
    head, rest = old.split(begin)
    with replacing(document) as partial:
        partial.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def render(result: Reproduction) -> RenderableType:
    """For a terminal."""
    table = Table(title=f"{result.claims.title}", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("claim", "quantity", "policy", "range", "simulation", "emulation", "valid"):
        table.add_column(heading)
    for at, one in enumerate(result.found):
        numbers = {engine: _number(ours, one.value, result.verdicts[at, engine]) for engine, ours in one.engines()}
        table.add_row(
            one.claim.id, one.value.name, _whose(one.value), _range(one.value), numbers[SIMULATION],
            numbers.get(EMULATION, UNDEFINED), "yes" if one.valid else "NO",
        )  # fmt: skip
    return table


def _whose(value: Value) -> str:
    compared = f" / {value.over}" if value.over else f" - {value.less}" if value.less else ""
    return value.policy + compared


def _range(value: Value) -> str:
    return UNDEFINED if value.range is None else f"{value.range[0]:g} to {value.range[1]:g}"


def _number(ours: Ours, value: Value, verdict: Verdict) -> str:
    if ours.number is None:
        return "none" if value.reach is not None else UNDEFINED
    text = f"{ours.bound} {_digits(ours.number)}".strip()
    if ours.interval is not None:
        text += f" [{_digits(ours.interval[0])}, {_digits(ours.interval[1])}]"
    if verdict.within is None:
        return text
    return f"{text}, {'surely ' if verdict.sure else ''}{'in' if verdict.within else 'OUT'}"


def _digits(number: float) -> str:
    """Three decimals of a ratio, on either side of 1; three digits of what is larger."""
    return f"{number:.3f}".rstrip("0").rstrip(".") if abs(number) < 10 else f"{number:.3g}"
