"""What a node's container needs of this machine's files: models and files that the experiment names, at their own
paths and read-only, so that a name means the same inside and outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def of_models(folders: Iterable[Path]) -> set[Path]:
    """The folders, and those that links in them point into: Hugging Face's cache keeps its files apart."""
    return {place for folder in folders for place in (folder, *_linked(folder))}


def of_names(settings: Mapping[str, Any]) -> set[Path]:
    """Files and folders that text anywhere in `settings` names: the user's profile, a policy's trained weights."""
    return {Path(text).absolute() for text in _texts(settings) if _names_file(text)}


def _linked(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink() and not path.resolve().is_relative_to(folder):
            yield path.resolve().parent


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _names_file(text: str) -> bool:
    """A file by its suffix: the plain names of what ships must not catch a folder of that name by accident."""
    return "\n" not in text and Path(text).suffix in (".yaml", ".json") and Path(text).is_file()
