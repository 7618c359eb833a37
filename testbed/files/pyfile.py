"""Python files that an experiment names, `FILE.py:NAME`: read as text, with the files next to them that they import.

Rule kept: what runs is the text that was read, wherever it runs. So a file travels by content, to other processes and
into containers, and its hash says what ran; on the machine it came from, tracebacks and breakpoints find it in place.
Code runs as `files.foreign` says. Imported files are found by `import NAME` and `from NAME import ...` in the text;
a folder next to the file, and a relative import, are refused.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.util
import linecache
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from testbed.errors import BadInput
from testbed.files.foreign import foreign
from testbed.files.reading import MIB, read_text, refuse_file, shown

NAMED = re.compile(r"(.+\.py):(\w+)", re.DOTALL)
MAX_BYTES = MIB  # of all texts of one file: they go into manifests and through control channels
MAX_FILES = 64

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class PythonFile:
    """`texts` by file name, the file itself first; `folder` is where they were read, None where only texts came."""

    texts: Mapping[str, str]
    folder: Path | None = None

    @staticmethod
    def named(text: str) -> tuple[Path, str] | None:
        """File and name of `FILE.py:NAME`; None where `text` is not of this form."""
        match = NAMED.fullmatch(text)
        return None if match is None else (Path(match[1]), match[2])

    @classmethod
    def read(cls, path: Path) -> PythonFile:
        """The file, and those next to it that it imports. Raises BadInput in one line."""
        texts: dict[str, str] = {}
        waiting = [path]
        while waiting:
            one = waiting.pop(0)
            if one.name in texts:
                continue
            texts[one.name] = text = read_text(one, MAX_BYTES)
            if len(texts) > MAX_FILES or sum(map(len, texts.values())) > MAX_BYTES:
                refuse_file(
                    path, f"imports more than {MAX_FILES} files or {MAX_BYTES} characters; install them instead"
                )
            waiting += _beside(one, text)
        return cls(texts, path.parent)

    @property
    def name(self) -> str:
        return next(iter(self.texts))

    @cached_property
    def sha256(self) -> str:
        """Of all texts with their names; of a single file's, as sha256sum(1) gives it."""
        if len(self.texts) == 1:
            return hashlib.sha256(self.texts[self.name].encode()).hexdigest()
        digest = hashlib.sha256()
        for name, text in sorted(self.texts.items()):
            digest.update(f"{name}\0{len(text)}\0{text}".encode())
        return digest.hexdigest()

    def path(self, name: str = "") -> Path:
        """Where a file is, for messages; without a folder its bare name."""
        return Path(name or self.name) if self.folder is None else self.folder / (name or self.name)

    def module(self) -> ModuleType:
        """The file as a module, run once in this process. Raises BadInput in one line."""
        done = sys.modules.get(self._module_name(self.name))
        if done is not None:
            return done
        before = set(sys.modules)
        try:
            with foreign(self.path(), "running it"):
                return self._run(self.name)
        except BaseException:
            for name in set(sys.modules) - before:
                if name.partition(".")[0] == self._package:
                    del sys.modules[name]
            raise

    def get(self, name: str, kind: type[Kind], what: str) -> Kind:
        """The object of this name. Raises BadInput where there is none of this `kind`; `what` is a `kind` in words."""
        names = vars(self.module())
        found = names.get(name)
        if isinstance(found, kind):
            return found
        there = [key for key, value in names.items() if isinstance(value, kind)]
        known = f"it has {', '.join(map(shown, there))}" if there else f"define {what}"
        problem = f"is not {what}" if name in names else "no object has that name"
        raise BadInput(f"{shown(self.path())}:{name}: {problem}; {known}")

    @property
    def _package(self) -> str:
        return f"{self.name.removesuffix('.py')}@{self.sha256[:12]}"

    def _module_name(self, name: str) -> str:
        return self._package if name == self.name else f"{self._package}.{name.removesuffix('.py')}"

    def _run(self, name: str) -> ModuleType:
        """Under its own name, so that files of one name in two folders do not meet."""
        module_name, text = self._module_name(name), self.texts[name]
        place = str(self.path(name) if self.folder is None else self.path(name).absolute())
        if module_name in sys.modules:
            return sys.modules[module_name]
        module = ModuleType(module_name)
        module.__file__ = place
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._import}
        linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
        sys.modules[module_name] = module  # before it runs, as the import system does: dataclasses look there
        exec(compile(text, place, "exec", dont_inherit=True), vars(module))
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`import` as these files see it: each other first, as files next to a script are."""
        top, _, rest = name.partition(".")
        if level or f"{top}.py" not in self.texts:
            return builtins.__import__(name, globals, locals, fromlist, level)
        if rest:
            raise ModuleNotFoundError(f"No module named {name!r}: {top}.py is a file, not a package", name=name)
        return self._run(f"{top}.py")


def _beside(path: Path, text: str) -> Iterator[Path]:
    """Files next to `path` that its text imports."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # what is wrong is said when it runs
    for line, name in _imports(path, tree):
        top = name.partition(".")[0]
        beside = path.parent / f"{top}.py"
        if beside.is_file():
            yield beside
        elif (path.parent / top).is_dir() and not _importable(top):
            refuse_file(
                path, f"imports {top}, a folder next to it, which does not travel with it; make it one file {top}.py, "
                "or install it as a package", line,
            )  # fmt: skip


def _imports(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                named = node.module or node.names[0].name
                refuse_file(path, f"a relative import has no package here; write `import {named}`", node.lineno)
            yield node.lineno, node.module or ""


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
