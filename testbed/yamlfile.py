"""Reads a YAML file so that every complaint about its content can name file, line and the nearest valid name.

Rule kept: bad input gets one line and is refused whole. Keys given twice are refused, as YAML itself would silently
keep the last. Knows nothing of topologies or experiments: those are pydantic models that the caller brings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

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
    return loader.construct_object(node, deep=True)


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


def explain(error: ValidationError, path: Path, lines: Lines, model: type[BaseModel]) -> str:
    """One line for the first problem in the file, with the number of further ones.

    On one line an unknown key comes first: it usually is the missing one, misspelt.
    """
    details = error.errors(include_url=False)
    first = min(details, key=lambda item: (_line(lines, _place(item)), item["type"] != "extra_forbidden"))
    further = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{path}:{_line(lines, _place(first))}: {_message(first, lines, model)}{further}"


def nearest(name: object, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something is close, else the valid names; empty when there are none."""
    names = list(valid)
    if close := difflib.get_close_matches(str(name), names, n=1, cutoff=0.5):
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(names)}" if names else ""


def _message(detail: ErrorDetails, lines: Lines, model: type[BaseModel]) -> str:
    place, kind, value = _place(detail), detail["type"], detail["input"]
    known = _known(place, lines)
    name = ".".join(map(str, known)) or "the file"
    if kind == "extra_forbidden":
        key = detail["loc"][-1]
        where = f" in {'.'.join(map(str, known[:-1]))}" if known[:-1] else ""
        return f"key {key!r} is unknown{where}{nearest(key, _keys(model, detail['loc'][:-1]))}"
    if kind == "missing":
        inside = f" in {name}" if known else ""
        return f"key {detail['loc'][-1]!r} is missing{inside}"
    if kind in _NUMBER_ERRORS and isinstance(value, str) and (match := _QUANTITY.match(value)):
        return f"{name} is {value!r}; write the number alone, in the unit the key names: {match.group(1)}"
    if kind == "problem":
        return detail["msg"]
    text = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    shown = "" if isinstance(value, (Mapping, list, BaseModel)) else f" (it is {value!r})"
    return f"{name}: {text}{shown}"


def _place(detail: ErrorDetails) -> Place:
    at = detail.get("ctx", {}).get("at", ())
    return (*detail["loc"], *at)


def _known(place: Place, lines: Lines) -> Place:
    """The part of a pydantic location that exists in the file: names of union members and the like are left out."""
    known: Place = ()
    for part in place:
        if (*known, part) in lines:
            known = (*known, part)
    return known


def _line(lines: Lines, place: Place) -> int:
    return lines.get(_known(place, lines), 1)


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
