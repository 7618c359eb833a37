"""YAML text to plain data, with the line of every place: the part of YAML that has one meaning.

Rules kept, all written down for users in docs/input-files.md: a scalar that YAML 1.1 and 1.2 read differently (0100,
1:30, yes) is refused with its line and what to write instead; a figure is finite and has at most 64 bits; keys given
twice, tags, loops and deep nesting are refused; what aliases and merges expand to is counted before it is made.
libyaml scans and parses, PyYAML composes; none of its constructors runs. Knows nothing of topologies or experiments.
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any, NoReturn

import yaml
from yaml._yaml import CParser

from testbed.errors import BadInput
from testbed.files.reading import MIB, one_line, refusal, shown

KeyPath = tuple[str | int, ...]
Lines = dict[KeyPath, int]

MAX_BYTES = 4 * MIB
MAX_VALUES = 100_000  # of one file, aliases expanded: the full matrix of 300 regions
MAX_DEPTH = 50
INTEGER_BITS = 63

_PLAIN = "plain"  # our mark of a scalar without quotes and tag, whose text says what it is
_TEXT = "tag:yaml.org,2002:str"
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_TRUTH = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")  # YAML 1.1
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_INTEGER = re.compile(rf"[-+]?{_DIGITS}")
_HEXADECIMAL = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_FLOAT = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")


def parse(text: str, name: str, lined: bool = True) -> tuple[Any, Lines]:
    """The one document of `text` and the lines of its places, counted from 1. Raises BadInput.

    `name` is the file, or whatever else complaints shall name; `lined` says whether lines mean anything in it.
    """
    return _Reader(text, name, lined).read()


class _Composer(yaml.composer.Composer, CParser):
    """libyaml's events, and PyYAML's tree of nodes made from them, within bounds."""

    def __init__(self, text: str, reader: _Reader) -> None:
        self._reader = reader
        CParser.__init__(self, text)
        yaml.composer.Composer.__init__(self)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._reader.count(event)
        if getattr(event, "tag", None) not in (None, "!", _TEXT):
            self._reader.refuse(event, f"tag {event.tag!r} is not supported; write the value alone, text in quotes")
        self._reader.deeper(event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._reader.back()
        return node

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        return (_PLAIN if implicit[0] else _TEXT) if kind is yaml.ScalarNode else kind.__name__

    def descend_resolver(self, parent: yaml.Node | None, index: int) -> None: ...

    def ascend_resolver(self) -> None: ...


class _Reader:
    def __init__(self, text: str, name: str, lined: bool) -> None:
        self._text = text
        self._name = name
        self._lined = lined
        self._lines: Lines = {}
        self._values = 0
        self._depth = 0
        self._inside: set[int] = set()  # nodes on the way from the root

    def read(self) -> tuple[Any, Lines]:
        root = self._root()
        if root is None:
            return None, self._lines
        self._values = 0  # from now on of what is made
        return self._value(root, ()), self._lines

    def refuse(self, at: Any, message: str) -> NoReturn:
        """BadInput with the line of a node or an event."""
        line = f":{at.start_mark.line + 1}" if self._lined else ""
        raise BadInput(f"{shown(self._name)}{line}: {message}")

    def count(self, at: Any) -> None:
        """One value more."""
        self._values += 1
        if self._values > MAX_VALUES:
            self.refuse(at, f"more than {MAX_VALUES} values, aliases (*name) expanded; use fewer")

    def deeper(self, at: Any) -> None:
        """One level in, until `back`; a refusal ends the whole file, so there is no way back after it."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.refuse(at, f"is nested more than {MAX_DEPTH} levels deep; flatten it")

    def back(self) -> None:
        self._depth -= 1

    def _root(self) -> yaml.Node | None:
        try:
            root: yaml.Node | None = _Composer(self._text, self).get_single_node()  # type: ignore[no-untyped-call]
            return root
        except UnicodeEncodeError as error:  # of a name or an argument, whose bytes are not text
            self._refuse_sign(ord(self._text[error.start]), self._text[: error.start], error)
        except yaml.reader.ReaderError as error:
            self._refuse_sign(error.character, self._text.encode()[: error.position].decode(errors="replace"), error)
        except BadInput:
            raise
        except Exception as error:  # of PyYAML alone
            if self._lined:
                raise refusal(self._name, error, "YAML") from error
            raise BadInput(f"{shown(self._name)}: is not YAML: {one_line(getattr(error, 'problem', error))}") from error

    def _refuse_sign(self, sign: int, before: str, error: Exception) -> NoReturn:
        where = f"{shown(self._name)}:{before.count(chr(10)) + 1}" if self._lined else shown(self._name)
        raise BadInput(f"{where}: contains the control character U+{sign:04X}, which is not text; remove it") from error

    def _value(self, node: yaml.Node, place: KeyPath) -> Any:
        self.count(node)
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._inside:
            self.refuse(node, "contains itself through an alias (*name)")
        self._inside.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, place)
            self.deeper(node)
            found = [self._value(item, (*place, index)) for index, item in enumerate(node.value)]
            self.back()
            return found
        finally:
            self._inside.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, place: KeyPath) -> dict[str | int, Any]:
        mapping: dict[str | int, Any] = {}
        self.deeper(node)
        for key_node, value_node in self._pairs(node):
            key = self._key(key_node)
            self._lines[(*place, key)] = key_node.start_mark.line + 1
            mapping[key] = self._value(value_node, (*place, key))
        self.back()
        return mapping

    def _pairs(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        """Of a mapping; those merged with `<<` come first, so that the mapping's own win."""
        own: list[tuple[yaml.Node, yaml.Node]] = []
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        first: dict[str | int, int] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == _PLAIN and key_node.value == "<<":
                merged += self._merged(value_node)
                continue
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in first:
                before = f"; first on line {first[key]}" if self._lined else ""
                self.refuse(key_node, f"key {key!r} is given twice{before}")
            first[key] = line
            own.append((key_node, value_node))
        return merged + own

    def _merged(self, node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: list[tuple[yaml.Node, yaml.Node]] = []
        self.deeper(node)
        for one in reversed(several):  # the first of several wins
            if not isinstance(one, yaml.MappingNode):
                self.refuse(node, "<<: merges mappings only")
            pairs = self._pairs(one)
            for key_node, _ in pairs:
                self.count(key_node)
            found += pairs
        self.back()
        return found

    def _key(self, node: yaml.Node) -> str | int:
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else node
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            said = f" {node.value!r}" if isinstance(node, yaml.ScalarNode) else ""
            self.refuse(node, f"key{said} is not text; put it in quotes")
        return key

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag != _PLAIN:
            return node.value
        try:
            return plain(node.value)
        except ValueError as error:
            self.refuse(node, str(error))


def plain(text: str) -> Any:
    """What a scalar without quotes says. ValueError, in words for the user, where readers of YAML disagree."""
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    quoted = f"or {_cut(text)!r} in quotes if it is text"
    if _OLD_TRUTH.fullmatch(text):
        raise ValueError(f"{text} is a string to some YAML readers and a boolean to others; write true or false, "
                         f"{quoted}")  # fmt: skip
    if not (text[0] in "+-." or text[0].isdigit()):
        return text
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; put text in quotes") from error
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a valid number here; write a number, {quoted}")
    if _SIXTIES.fullmatch(text):
        raise ValueError(f"{_cut(text)} is a base-60 number in YAML 1.1; write one number, {quoted}")
    if _OCTAL.fullmatch(text):
        sign = text[0] if text[0] in "+-" else ""
        digits = text.lstrip("+-").replace("_", "").lstrip("0") or "0"
        raise ValueError(
            f"{_cut(text)} is octal in YAML 1.1 because of its leading 0; write {sign}{_cut(digits)}, {quoted}"
        )
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text, 16, quoted)
    if _INTEGER.fullmatch(text):
        return _integer(text, 10, quoted)
    if _FLOAT.fullmatch(text):
        return _float(text, quoted)
    return text


def _integer(text: str, base: int, quoted: str) -> int:
    if len(text.lstrip("+-0x").replace("_", "")) <= INTEGER_BITS:
        value = int(text, base)
        if value.bit_length() <= INTEGER_BITS:
            return value
    raise ValueError(f"{_cut(text)} does not fit into 64 bits; write a smaller number, {quoted}")


def _float(text: str, quoted: str) -> float:
    value = float(text)
    vanished = value == 0 and re.search(r"[1-9]", re.split(r"[eE]", text)[0]) is not None
    if math.isinf(value) or vanished:
        size = "small" if vanished else "large"
        raise ValueError(f"{_cut(text)} is too {size} for a 64-bit number; write another, {quoted}")
    return value


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."
