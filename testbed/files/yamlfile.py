"""Reads a YAML file so that every complaint about its content can name file, line and the nearest valid name.

Rule kept: bad input gets one line and is refused whole. Keys given twice are refused, as YAML itself would silently
keep the last. Knows nothing of topologies or experiments: those are pydantic models that the caller brings.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from testbed.errors import BadInput
from testbed.files.annotations import examples, extra, flow, forms, is_share, listed, step
from testbed.files.numbers import advice
from testbed.files.reading import Name, read_text, shown
from testbed.files.refusals import refusal_of
from testbed.files.strict import Strict
from testbed.files.yamltext import MAX_BYTES, KeyPath, Lines, parse

_NUMBER_ERRORS = {"float_type", "float_parsing", "int_type", "int_parsing", "int_from_float", "finite_number"}
_TOO_LARGE = {"less_than", "less_than_equal"}
_SHOWN = 80  # characters of a value


def load_yaml(path: Path) -> tuple[Any, Lines]:
    """The content of one YAML document and, for every place in it, its line counted from 1."""
    data, lines = parse(read_text(path, MAX_BYTES), str(path))
    if data is None:
        raise BadInput(f"{shown(path)}: is empty")
    return data, lines


class Mistake(NamedTuple):
    """One thing that is wrong: where inside the model being validated, and a line about it."""

    place: KeyPath
    text: str
    unknown: bool = False  # a key that is not there


def problem(at: KeyPath, message: str) -> PydanticCustomError:
    """For validators: an error about the place `at` inside the model being validated."""
    return problems([Mistake(at, message)])


def problems(found: Sequence[Mistake]) -> PydanticCustomError:
    """For validators: several errors at once; at least one."""
    return PydanticCustomError("problem", "{text}", {"text": found[0].text, "found": tuple(found)})


def raise_mistakes(found: Iterable[Mistake]) -> None:
    """For validators: raises what was found, if anything was."""
    if several := list(found):
        raise problems(several)


def refuse(path: Path, lines: Lines, at: KeyPath, message: str) -> NoReturn:
    """For checks after validation: BadInput with the line of `at`."""
    raise BadInput(f"{path}:{_line(lines, at)}: {message}")


@contextmanager
def filling(
    path: Name,
    model: type[BaseModel],
    lines: Lines | None = None,
    overrides: Mapping[KeyPath, str] | None = None,
) -> Iterator[None]:
    """Inside, one `model` is made of what a file holds: all that it refuses becomes one BadInput.

    `lines`: of what stands in the file; None where the model is made of figures that stand there in another form.
    """
    try:
        yield
    except ValidationError as error:
        raise _explain(error, path, lines, model, overrides) from error


def _explain(
    error: ValidationError,
    path: Name,
    lines: Lines | None,
    model: type[BaseModel],
    overrides: Mapping[KeyPath, str] | None,
) -> BadInput:
    """Every mistake, one on a line: the first is the error's text, the others are its notes.

    Unknown keys come first, since one of them often is a missing one, misspelt; then the order is that of the file.
    `overrides`: what did not come from the file.
    """

    def order(item: _Problem) -> tuple[bool, int]:
        return not item.unknown, 0 if _override(overrides, item.place) else _line(lines or {}, item.place)

    told = []
    for item in sorted(_problems(error, model), key=order):
        override = _override(overrides, item.place)
        line = "" if lines is None else f":{_line(lines, item.place)}"
        where = f"override {shown(override)}" if override else f"{shown(path)}{line}"
        told.append(f"{where}: {_message(item, model)}")
    return refusal_of(path, list(dict.fromkeys(told)))


def complaints(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """Every mistake, unknown keys first, for values that stand inside something else."""
    found = sorted(_problems(error, model), key=lambda item: not item.unknown)
    return [Mistake(item.place, _message(item, model), item.unknown) for item in found]


def nearest(name: object, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something is close, else the valid names; empty when there are none."""
    names = [shown(one) for one in valid]
    if close := _closest(name, names):
        return f"; did you mean {close!r}?"
    return f"; valid: {', '.join(names)}" if names else ""


def _closest(name: object, names: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(name)[:_SHOWN], names, n=1, cutoff=0.5)), None)


@dataclass(frozen=True)
class _Problem:
    """One complaint of pydantic, its place as the user writes it, and the unions on the way with the branch taken."""

    detail: ErrorDetails
    place: KeyPath
    branches: Mapping[KeyPath, str | int]
    unknown: bool  # a key that is not there
    text: str | None = None  # in a validator's own words


def _problems(error: ValidationError, model: type[BaseModel]) -> list[_Problem]:
    """Pydantic complains about every branch of a union: kept is the one that the input got furthest into."""
    found = [item for detail in error.errors(include_url=False) for item in _problems_of(detail, model)]
    best: dict[KeyPath, _Problem] = {}
    for item in found:
        for union in item.branches:
            if union not in best or len(item.place) > len(best[union].place):
                best[union] = item
    taken = [item for item in found if all(best[union].branches[union] == tag for union, tag in item.branches.items())]
    misspelt = {(*item.place[:-1], _closest(item.place[-1], _keys(model, item.place[:-1]))) for item in taken
                if item.unknown and item.text is None}  # fmt: skip
    return [item for item in taken if item.detail["type"] != "missing" or item.place not in misspelt]


def _problems_of(detail: ErrorDetails, model: type[BaseModel]) -> list[_Problem]:
    place: KeyPath = ()
    branches: dict[KeyPath, str | int] = {}
    inside: list[Any] = [model]
    for part in detail["loc"]:
        if len(inside) > 1 and place not in branches:
            branches[place] = part  # pydantic puts the branch's name between the keys
        elif part != "[key]":  # of a mapping whose key itself is wrong
            place = (*place, part)
            inside = [member for one in inside for member in step(one, part)]
    if detail["type"] != "problem":
        return [_Problem(detail, place, branches, detail["type"] == "extra_forbidden")]
    return [_Problem(detail, (*place, *one.place), branches, one.unknown, one.text) for one in detail["ctx"]["found"]]


def _message(problem: _Problem, model: type[BaseModel]) -> str:
    if problem.text is not None:
        return problem.text
    detail, place = problem.detail, problem.place
    kind, value = detail["type"], detail["input"]
    name = shown(".".join(map(str, place))) or "the file"
    inside = f" in {shown('.'.join(map(str, place[:-1])))}" if place[:-1] else ""
    if kind == "extra_forbidden":
        if (now := _renamed(model, place)) is not None:
            return f"key {said(place[-1])} is now called {now!r}{inside}"
        comma = "; write decimals with a point, not a comma" if isinstance(place[-1], int) else ""
        return f"key {said(place[-1])} is unknown{inside}{nearest(place[-1], _keys(model, place[:-1]))}{comma}"
    if kind == "missing":
        return f"key {place[-1]!r} is missing{inside}"
    fields = _fields(model, place)
    hint = None
    if kind in _NUMBER_ERRORS:
        hint = advice(value, any(is_share(field) for field in fields))
        if hint is None and isinstance(value, float) and value.is_integer() and kind.startswith("int_"):
            hint = f"write {value:.0f}"
    if hint is not None:
        return f"{name} is {said(value)}; {hint}"
    text = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if place in problem.branches and (known := examples(model, place)):
        text = f"should be like {listed(flow(one) for one in known)}"
    elif place in problem.branches and (accepted := forms(fields)):
        text = f"should be {accepted}"
    elif kind == "string_type" and isinstance(value, (int, float, date)):
        text += "; put text in quotes"
    told = "" if isinstance(value, (Mapping, list, BaseModel)) else f" (it is {said(value)})"
    if kind in _TOO_LARGE and any(is_share(field) for field in fields) and (share := advice(value, share=True)):
        told += f"; a percentage? {share}"
    return f"{name}: {text}{told}"


def said(value: object) -> str:
    """A value as a message shows it: as YAML has it, on one line, not too long."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    try:
        text = str(value) if isinstance(value, date) else repr(value)
    except ValueError:  # an integer with thousands of digits
        text = "a number of very many digits"
    return shown(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _override(overrides: Mapping[KeyPath, str] | None, place: KeyPath) -> str | None:
    """The override that a place came from; the last one that set it or something around it."""
    texts = [text for at, text in (overrides or {}).items() if place[: len(at)] == at]
    return texts[-1] if texts else None


def _line(lines: Lines, place: KeyPath) -> int:
    """The line of a place, or of the innermost thing around it that is in the file."""
    return next((lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in lines), 1)


def _fields(model: type[BaseModel], place: KeyPath) -> list[Any]:
    """The annotations of what may stand at `place`, members of unions one by one, with their bounds."""
    inside: list[Any] = [model]
    for part in place:
        inside = [member for one in inside for member in step(one, part)]
    return inside


def _keys(model: type[BaseModel], place: KeyPath) -> list[str]:
    """Keys that are valid inside `place` of `model`."""
    return sorted({field.alias or name for each in _inside(model, place) for name, field in each.model_fields.items()})


def _renamed(model: type[BaseModel], place: KeyPath) -> str | None:
    """The new name of an old key."""
    known = [each.renamed for each in _inside(model, place[:-1]) if issubclass(each, Strict)]
    return next((names[str(place[-1])] for names in known if place[-1] in names), None)


def _inside(model: type[BaseModel], place: KeyPath) -> set[type[BaseModel]]:
    """The models that a mapping at `place` may be."""
    models = {model}
    for part in place:
        fields = [field for each in models for name, field in each.model_fields.items() if part in (name, field.alias)]
        found = {one for field in fields for one in _models(field.annotation)}
        if not fields:
            found = {one for each in models for one in _models(extra(each))}
        models = found or models
    return models


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models inside an annotation: of unions, lists, mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
