"""What a model's annotations accept, for messages: the members of a union, whether a number is a share, examples."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

NUMBER, WHOLE, TEXT = "NUMBER", "COUNT", "NAME"


def step(annotation: Any, part: str | int) -> list[Any]:
    """What stands behind one key or index: the members of the union, or the one type, each with its bounds."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = [field for name, field in annotation.model_fields.items() if part in (name, field.alias)]
        if not fields and (others := extra(annotation)) is not None:
            return step(others, part)
        return [member for field in fields for member in members(_annotated(field))]
    arguments = get_args(annotation)
    return members(arguments[-1]) if get_origin(annotation) in (dict, list) and arguments else []


def extra(model: type[BaseModel]) -> Any:
    """The annotation of the mapping of all keys that are no fields; None where there may be none."""
    return get_type_hints(model)["__pydantic_extra__"] if model.model_config.get("extra") == "allow" else None


def members(annotation: Any, bounds: tuple[Any, ...] = ()) -> list[Any]:
    """All that a union is of, but None; bounds around it stand at each."""
    if get_origin(annotation) is Annotated:
        inner, *own = get_args(annotation)
        return members(inner, (*bounds, *own))
    if get_origin(annotation) in (Union, UnionType):
        return [member for one in get_args(annotation) if one is not NoneType for member in members(one, bounds)]
    return [Annotated[annotation, *bounds] if bounds else annotation]


def examples(model: type[BaseModel], place: tuple[str | int, ...]) -> list[Any]:
    """What the key at `place` has as examples; a key that takes several forms has one of each."""
    if not place:
        return []
    inside: list[Any] = [model]
    for part in place[:-1]:
        inside = [member for one in inside for member in step(one, part)]
    models = [one for one in map(_bare, inside) if isinstance(one, type) and issubclass(one, BaseModel)]
    fields = [field for one in models for name, field in one.model_fields.items() if place[-1] in (name, field.alias)]
    return [example for field in fields for example in field.examples or []]


def flow(value: Any) -> str:
    """A value as YAML on one line, as it may stand behind a key."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


def listed(texts: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = texts
    return f"{', '.join(most)} or {last}" if most else last


def is_share(annotation: Any) -> bool:
    """Whether it is a number of at most 1."""
    if get_origin(annotation) is not Annotated or _bare(annotation) not in (int, float):
        return False
    found = [bound for one in get_args(annotation)[1:] for bound in _upper(one)]
    return bool(found) and min(found) <= 1


def forms(annotations: Iterable[Any]) -> str:
    """Every form of a union, each with its keys: `'sequential', {poisson: {rate_per_s: NUMBER}} or a number`."""
    found = list(dict.fromkeys(form for one in annotations for form in _forms(_bare(one), top=True)))
    return listed(found) if found else ""


def _forms(annotation: Any, top: bool = False) -> list[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [f"{value!r}" if top else str(value) for value in arguments]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        required = {name: field for name, field in annotation.model_fields.items() if field.is_required()}
        if required:
            return ["{" + ", ".join(f"{name}: {_first(field)}" for name, field in required.items()) + "}"]
        return [f"{{{name}: {_first(field)}}}" for name, field in annotation.model_fields.items()]
    if origin in (list, tuple):
        return [f"[{_one(arguments[0])}, ...]"]
    if origin is dict:
        return [f"{{{_one(arguments[0])}: {_one(arguments[1])}, ...}}"]
    words = {str: ("text", TEXT), int: ("a whole number", WHOLE), float: ("a number", NUMBER),
             bool: ("true or false", "true")}  # fmt: skip
    return [words[annotation][0 if top else 1]] if annotation in words else []


def _first(field: FieldInfo) -> str:
    return _one(_annotated(field))


def _one(annotation: Any) -> str:
    """One form is enough inside another."""
    found = [form for member in members(annotation) for form in _forms(_bare(member))]
    return found[0] if found else "..."


def _annotated(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _upper(bound: Any) -> list[float]:
    if isinstance(bound, FieldInfo):
        return [value for one in bound.metadata for value in _upper(one)]
    return [value for name in ("le", "lt") if isinstance(value := getattr(bound, name, None), (int, float))]
