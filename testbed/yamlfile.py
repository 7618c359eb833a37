"""Reads a YAML file so that every complaint about its content can name file, line and the nearest valid name.

Rule kept: bad input gets one line and is refused whole. Keys given twice are refused, as YAML itself would silently
keep the last. Knows nothing of topologies or experiments: those are pydantic models that the caller brings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from testbed.errors import BadInput

Place = tuple[str | int, ...]
Lines = dict[Place, int]

_QUANTITY = re.compile(r"^\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z%/]+)\s*$")
_NUMBER_ERRORS = {"float_type", "float_parsing", "int_type", "int_parsing", "int_from_float"}


def load_yaml(path: Path) -> tuple[Any, Lines]:
    """The content of one YAML document and, for every place in it, its line counted from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 text (byte {error.start})") from error
    loader = yaml.SafeLoader(text)
    lines: Lines = {}
    try:
        root = loader.get_single_node()
        if root is None:
            raise BadInput(f"{path}: is empty")
        return _build(loader, root, (), lines, path), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadInput(f"{path}:{mark.line + 1 if mark else 1}: is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _build(loader: yaml.SafeLoader, node: yaml.Node, place: Place, lines: Lines, path: Path) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node, path)
        loader.flatten_mapping(node)  # `<<`: the merged keys come first, so the mapping's own win
        mapping: dict[str | int, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise BadInput(f"{path}:{line}: key {key!r} is not text; put it in quotes")
            lines[(*place, key)] = line
            mapping[key] = _build(loader, value_node, (*place, key), lines, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*place, index), lines, path) for index, item in enumerate(node.value)]
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # 2026-02-30 looks like a date and is none
        raise BadInput(f"{path}:{node.start_mark.line + 1}: {node.value!r}: {error}; put text in quotes") from error


def _refuse_repeated_keys(node: yaml.MappingNode, path: Path) -> None:
    first: dict[str, int] = {}
    for key_node, _ in node.value:
        if isinstance(key_node, yaml.ScalarNode):
            line = key_node.start_mark.line + 1
            if key_node.value in first:
                before = first[key_node.value]
                raise BadInput(f"{path}:{line}: key {key_node.value!r} is given twice; first on line {before}")
            first[key_node.value] = line


def problem(at: Place, message: str) -> PydanticCustomError:
    """For validators: an error about the place `at` inside the model being validated."""
    return PydanticCustomError("problem", "{text}", {"text": message, "at": at})


def refuse(path: Path, lines: Lines, at: Place, message: str) -> NoReturn:
    """For checks after validation: BadInput with the line of `at`."""
    raise BadInput(f"{path}:{_line(lines, at)}: {message}")


def explain(
    error: ValidationError,
    path: Path,
    lines: Lines,
    model: type[BaseModel],
    overrides: Mapping[Place, str] | None = None,
) -> str:
    """One line for the first problem, with the number of further ones. `overrides`: what did not come from the file.

    On one line an unknown key comes first: it usually is the missing one, misspelt.
    """
    problems = _problems(error, model)

    def order(item: _Problem) -> tuple[int, bool]:
        line = 0 if _override(overrides, item.place) else _line(lines, item.place)
        return line, item.detail["type"] != "extra_forbidden"

    first = min(problems, key=order)
    further = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    override = _override(overrides, first.place)
    where = f"override {override}" if override else f"{path}:{_line(lines, first.place)}"
    return f"{where}: {_message(first, model)}{further}"


def nearest(name: object, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something is close, else the valid names; empty when there are none."""
    names = list(valid)
    if close := difflib.get_close_matches(str(name), names, n=1, cutoff=0.5):
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(names)}" if names else ""


@dataclass(frozen=True)
class _Problem:
    """One complaint of pydantic, its place as the user writes it, and the unions on the way with the branch taken."""

    detail: ErrorDetails
    place: Place
    branches: Mapping[Place, str | int]


def _problems(error: ValidationError, model: type[BaseModel]) -> list[_Problem]:
    """Pydantic complains about every branch of a union: kept is the one that the input got furthest into."""
    found = [_problem_of(detail, model) for detail in error.errors(include_url=False)]
    best: dict[Place, _Problem] = {}
    for item in found:
        for union in item.branches:
            if union not in best or len(item.place) > len(best[union].place):
                best[union] = item
    return [item for item in found if all(best[union].branches[union] == tag for union, tag in item.branches.items())]


def _problem_of(detail: ErrorDetails, model: type[BaseModel]) -> _Problem:
    place: Place = ()
    branches: dict[Place, str | int] = {}
    inside: list[Any] = [model]
    for part in detail["loc"]:
        if len(inside) > 1 and place not in branches:
            branches[place] = part  # pydantic puts the branch's name between the keys
        elif part != "[key]":  # of a mapping whose key itself is wrong
            place = (*place, part)
            inside = [member for one in inside for member in _step(one, part)]
    return _Problem(detail, (*place, *detail.get("ctx", {}).get("at", ())), branches)


def _step(annotation: Any, part: str | int) -> list[Any]:
    """What stands behind one key or index: the members of the union, or the one type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = [field for name, field in annotation.model_fields.items() if part in (name, field.alias)]
        return [member for field in fields for member in _members(field.annotation)]
    arguments = get_args(annotation)
    return _members(arguments[-1]) if get_origin(annotation) in (dict, list) and arguments else []


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for one in get_args(annotation) if one is not type(None) for member in _members(one)]
    return [annotation]


def _message(problem: _Problem, model: type[BaseModel]) -> str:
    detail, place = problem.detail, problem.place
    kind, value = detail["type"], detail["input"]
    name = ".".join(map(str, place)) or "the file"
    inside = f" in {'.'.join(map(str, place[:-1]))}" if place[:-1] else ""
    if kind == "extra_forbidden":
        return f"key {place[-1]!r} is unknown{inside}{nearest(place[-1], _keys(model, place[:-1]))}"
    if kind == "missing":
        return f"key {place[-1]!r} is missing{inside}"
    if kind in _NUMBER_ERRORS and isinstance(value, str) and (match := _QUANTITY.match(value)):
        return f"{name} is {value!r}; write the number alone, in the unit the key names: {match.group(1)}"
    if kind == "problem":
        return detail["msg"]
    text = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    shown = "" if isinstance(value, (Mapping, list, BaseModel)) else f" (it is {value!r})"
    return f"{name}: {text}{shown}"


def _override(overrides: Mapping[Place, str] | None, place: Place) -> str | None:
    """The override that a place came from; the last one that set it or something around it."""
    texts = [text for at, text in (overrides or {}).items() if place[: len(at)] == at]
    return texts[-1] if texts else None


def _line(lines: Lines, place: Place) -> int:
    """The line of a place, or of the innermost thing around it that is in the file."""
    return next((lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in lines), 1)


def _keys(model: type[BaseModel], place: Place) -> list[str]:
    """Keys that are valid inside `place` of `model`."""
    models = {model}
    for part in place:
        fields = [field for each in models for name, field in each.model_fields.items() if part in (name, field.alias)]
        if fields:
            models = {found for field in fields for found in _models(field.annotation)}
    return sorted({field.alias or name for each in models for name, field in each.model_fields.items()})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models inside an annotation: of unions, lists, mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
