"""How functions of the compiled world are compiled: as they stand, without fast maths, so that floats are Python's.

Rule kept: a compiled loop on disk is used only with the very sources it was made from. Numba's own cache looks at the
file of the cached function alone, not at those it calls, so the loop carries a digest of every file of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """A part of the loop: compiled with it, and cached with it."""
    return cast(Function, njit(function))


def cached(function: Function) -> Function:
    """The loop itself: its machine code is kept beside the source, or under the user's cache directory."""
    return cast(Function, njit(cache=True)(function))


def sources(folder: Path = Path(__file__).parent) -> int:
    """A number that changes with any source file of this package."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "big")
