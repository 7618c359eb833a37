"""The keys of a JSON schema as rows: what each holds, its unit, range and default, in words.

Pure: a schema in, rows out. A key's place is dotted, as in overrides; `<name>` stands for any key of a mapping, `[]`
for any entry of a list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.files.annotations import flow, listed

Schema = Mapping[str, Any]

ANY, EACH = "<name>", "[]"
REQUIRED = "required"
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}
_COMPARE = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True)
class Number:
    """A number, or the length of a text, somewhere in a key's value."""

    unit: str | None
    bounds: tuple[tuple[str, float], ...]  # as JSON schema calls them

    @property
    def range(self) -> str:
        """`0 to 60000`, where both ends belong to it; else `> 0, ≤ 1`."""
        found = dict(self.bounds)
        if set(found) == {"minimum", "maximum"}:
            return f"{_short(found['minimum'])} to {_short(found['maximum'])}"
        return ", ".join(f"{_COMPARE[name]} {_short(value)}" for name, value in self.bounds)


@dataclass(frozen=True)
class Key:
    """One key of a file."""

    place: str
    holds: str
    numbers: tuple[Number, ...]
    default: str
    description: str
    examples: tuple[str, ...]

    @property
    def units(self) -> str:
        return ", ".join(dict.fromkeys(one.unit for one in self.numbers if one.unit))

    @property
    def ranges(self) -> str:
        return "; ".join(dict.fromkeys(one.range for one in self.numbers if one.bounds))


def keys(schema: Schema, leave: Collection[str] = ()) -> list[Key]:
    """Every key, parents before what is in them. What is inside the places of `leave` is left out."""
    return list(_keys(schema, schema.get("$defs", {}), "", leave))


def _short(value: float) -> str:
    power = int(value).bit_length() - 1
    return f"2^{power}" if power > 20 and value == 2**power else f"{value:.12g}"


def _keys(
    model: Schema, defs: Mapping[str, Any], before: str, leave: Collection[str], one_form: bool = False
) -> Iterator[Key]:
    """`one_form`: the model is one of several forms of a value, told apart by its only key."""
    required = () if one_form and len(model["properties"]) == 1 else model.get("required", ())
    for name, value in model.get("properties", {}).items():
        place = f"{before}{name}"
        yield Key(
            place=place,
            holds=_holds(value, defs),
            numbers=tuple(_numbers(value, defs)),
            default=REQUIRED if name in required else _default(value, defs),
            description=value.get("description", ""),
            examples=tuple(flow(one) for one in value.get("examples", ())),
        )
        if place not in leave:
            for inside, inner in _inside(value, defs):
                several = len(list(_branches(value, defs))) > 1
                yield from _keys(inner, defs, f"{place}{inside}.", leave, several)


def _default(value: Schema, defs: Mapping[str, Any]) -> str:
    """Of a mapping with its own keys each has its default."""
    default = value.get("default", "")
    if default in ("", {}, []) or (isinstance(default, Mapping) and any(_inside(value, defs))):
        return ""
    return flow(default)


def _branches(value: Schema, defs: Mapping[str, Any]) -> Iterator[Schema]:
    """What may stand there: references followed, the forms of a union one by one, null left out."""
    if "$ref" in value:
        yield from _branches(defs[value["$ref"].removeprefix("#/$defs/")], defs)
    elif forms := value.get("anyOf") or value.get("oneOf"):
        for one in forms:
            yield from _branches(one, defs)
    elif value.get("type") != "null":
        yield value


def _holds(value: Schema, defs: Mapping[str, Any]) -> str:
    return listed(dict.fromkeys(_form(one, defs) for one in _branches(value, defs)) or ["anything"])


def _form(one: Schema, defs: Mapping[str, Any]) -> str:
    if "const" in one:
        return f"`{flow(one['const'])}`"
    if "enum" in one:
        return listed(f"`{flow(each)}`" for each in one["enum"])
    kind = one.get("type")
    if kind == "array":
        parts = one.get("prefixItems")
        if parts:
            return f"[{', '.join(_holds(part, defs) for part in parts)}]"
        return f"list of {_holds(one['items'], defs)}" if one.get("items") else "list"
    if kind == "object" and isinstance(inner := one.get("additionalProperties"), Mapping):
        return f"mapping of {_holds(inner, defs)}"
    return _WORDS.get(str(kind), "anything")


def _inside(value: Schema, defs: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """Models inside a value, each with the way there: "", "[]", ".<name>", ..."""
    for one in _branches(value, defs):
        if "properties" in one:
            yield "", one
        for part in (one.get("items"), *one.get("prefixItems", ())):
            if isinstance(part, Mapping):
                yield from ((EACH + inside, model) for inside, model in _inside(part, defs))
        if isinstance(inner := one.get("additionalProperties"), Mapping):
            yield from ((f".{ANY}{inside}", model) for inside, model in _inside(inner, defs))


def _numbers(value: Schema, defs: Mapping[str, Any]) -> Iterator[Number]:
    """Numbers of a value that are not in a separate model."""
    for one in _branches(value, defs):
        if one.get("type") in ("integer", "number"):
            yield Number(value.get("unit", one.get("unit")), _bounds(one, _COMPARE))
        for part in (one.get("items"), *one.get("prefixItems", ())):
            if isinstance(part, Mapping):
                yield from _numbers(part, defs)
        if isinstance(inner := one.get("additionalProperties"), Mapping):
            yield from _numbers(inner, defs)


def _bounds(one: Schema, names: Collection[str]) -> tuple[tuple[str, float], ...]:
    return tuple((name, one[name]) for name in names if name in one)
