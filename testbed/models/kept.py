"""What was once found of a model and is kept in the user's cache folder: findings, facts, weights as passes read them.

Rule: everything is kept under a hash of all that it depends on (the model's files, this code, the libraries), so it is
never out of date; what is missing or damaged is found anew; and a folder that others can write to is not used.
If the folder cannot be used, `unusable` says why.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from testbed.errors import BadInput, TestbedError
from testbed.files.cachefolder import private_folder
from testbed.files.reading import decode_json, read_bytes
from testbed.files.whole import replacing
from testbed.models.load import local_folder, model_hash

VERSIONED = ("torch", "transformers", "tokenizers", "numpy")
CACHE = "wan-testbed/models"
MAX_BYTES = 1 << 26  # a tokenizer's rules have a megabyte or a few
DESCRIBING = (".json", ".txt", ".model", ".jinja", ".tiktoken")  # files of a model's folder beside its weights

_Kept = TypeVar("_Kept")


def place(name: str, *more: object, suffix: str) -> Path | None:
    """The file for what depends on the model and on `more`; None where this user has no private folder for it."""
    kept_in, _ = private_folder(CACHE)
    if kept_in is None:
        return None
    parts = [
        model_hash(name),
        *(_describing(local_folder(name))),
        *(importlib.metadata.version(package) for package in VERSIONED),
        _code(),
        *map(str, more),
    ]
    return kept_in / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}{suffix}"


def unusable() -> str:
    """Why nothing can be kept for this user, in words; empty where it can."""
    _, why = private_folder(CACHE)
    return why


def read(path: Path | None, kind: type[_Kept]) -> _Kept | None:
    """None for what is not there, or damaged."""
    if path is None:
        return None
    try:
        return decode_json(read_bytes(path, MAX_BYTES), path, kind)
    except BadInput:
        return None


def write(path: Path | None, found: msgspec.Struct) -> None:
    """Whole or not at all. What cannot be kept costs time, nothing else."""
    if path is None:
        return
    try:
        with replacing(path, durable=False) as partial:
            partial.touch(0o600)
            partial.write_bytes(msgspec.json.encode(found))
    except TestbedError:
        return


def _describing(folder: Path) -> list[tuple[str, str]]:
    files = sorted(path for path in folder.iterdir() if path.suffix in DESCRIBING and path.is_file())
    return [(path.name, hashlib.sha256(read_bytes(path, MAX_BYTES)).hexdigest()) for path in files]


@cache
def _code() -> str:
    """Of everything that a pass goes through."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.glob("lean/*.py"), *(here.parent / "decoding").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
