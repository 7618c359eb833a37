"""The line of a place inside a JSON text, for messages: decoders do not say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
Key = str | int


def line_of(text: str, place: Sequence[Key]) -> int:
    """Counted from 1; of the innermost thing around the place that can be found."""
    line = 1
    for at, found in _walk(text):
        if list(found) == list(place[: len(found)]):
            line = text.count("\n", 0, at) + 1
            if len(found) == len(place):
                return line
    return line


def objects(text: str) -> list[tuple[int, str]]:
    """The objects of a text that has one after another, as `jq` prints them, with the line of each."""
    found: list[tuple[int, str]] = []
    depth, begin, line, counted = 0, 0, 1, 0
    for match in _TOKEN.finditer(text):
        if match[0] in "{[":
            if not depth:
                begin = match.start()
            depth += 1
        elif match[0] in "}]" and depth:
            depth -= 1
            if not depth:
                line, counted = line + text.count("\n", counted, begin), begin
                found.append((line, text[begin : match.end()]))
    if depth:  # it does not end: whoever reads it says so
        found.append((line + text.count("\n", counted, begin), text[begin:]))
    return found


def _walk(text: str) -> Iterator[tuple[int, list[Key]]]:
    """Where each value begins, and the keys that lead to it."""
    path: list[Key] = []
    inside: list[str] = []
    key_next = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "{[":
            yield match.start(), path
            inside.append(token)
            path.append("" if token == "{" else 0)
            key_next = token == "{"
        elif token in "}]":
            if inside:
                inside.pop()
                path.pop()
            key_next = False
        elif token == ",":
            if inside and inside[-1] == "[":
                path[-1] = int(path[-1]) + 1
            key_next = bool(inside) and inside[-1] == "{"
        elif token == ":":
            key_next = False
        elif key_next:
            path[-1] = token[1:-1]
        else:
            yield match.start(), path
