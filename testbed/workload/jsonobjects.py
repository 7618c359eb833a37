"""Files of JSON objects as people write them: one a line, or one list of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.files.reading import decode_json, refuse_file
from testbed.files.yamlfile import said


def objects(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object with its line; at least one. Of a list, lines of its entries are not known: they have the list's."""
    if text.lstrip().startswith("["):
        found = decode_json(text, path, None, "a list of JSON objects")
        numbered = [(text[: text.index("[")].count("\n") + 1, one) for one in found]
    else:
        # by this end of a line alone: others, such as U+2028, may stand inside a text
        lines = enumerate(text.split("\n"), start=1)
        numbered = [
            (number, decode_json(line, path, None, "a JSON object", line=number))
            for number, line in lines
            if line.strip()
        ]
    if not numbered:
        refuse_file(path, "holds no objects")
    for place, (line, one) in enumerate(numbered, start=1):
        if not isinstance(one, dict):
            refuse_file(path, f"entry {place} is {said(one)}; a JSON object is expected", line)
        yield line, one
