"""What the documentation names is there: pages, headings, paths of this repository, and verbs of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli.main import app
from testbed.cli.reference.commandline import verbs

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED = re.compile(r"```.*?```", re.DOTALL)
NAMED = re.compile(r"`((?:testbed|tests|docs|experiments|topologies|workloads|notebooks|images)/[\w./{},*-]+)`")
CHOICE = re.compile(r"\{([^{}]*)\}")


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in HEADING.findall(FENCED.sub("", page.read_text()))}


def spelled_out(path: str) -> Iterator[str]:
    """`a/{b,c}.py` as its files."""
    choice = CHOICE.search(path)
    if choice is None:
        yield path
        return
    for one in choice[1].split(","):
        yield from spelled_out(path[: choice.start()] + one + path[choice.end() :])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif heading and heading not in anchors(target):
            broken.append(f"{link}: no such heading")
    assert not broken, f"{page.name}: {broken}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths(page: Path) -> None:
    missing = [
        path
        for named in NAMED.findall(page.read_text())
        for path in spelled_out(named)
        if not any(ROOT.glob(path.rstrip("/")))
    ]
    assert not missing, f"{page.name}: {missing}"


VERB = re.compile(r"[`(]testbed ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")


def test_verbs() -> None:
    """Also those that the code names, in help and messages."""
    known = [tuple(verb.name.split()[1:]) for verb in verbs(app)]
    groups = {name[0] for name in known if len(name) == 2}
    first = {name[0] for name in known}
    places = [*PAGES, *sorted((ROOT / "docs/reference").glob("*.md")), *sorted((ROOT / "testbed").rglob("*.py"))]
    missing = [
        f"{path.relative_to(ROOT)}: testbed {verb} {word}".rstrip()
        for path in places
        for verb, word in VERB.findall(path.read_text(encoding="utf-8"))
        if verb not in first or (verb in groups and word and (verb, word) not in known)
    ]
    assert known and missing == []


MODULE = re.compile(r"`(testbed(?:\.\w+)+)`")
SOURCES = [*PAGES, *sorted((ROOT / "testbed").rglob("*.py"))]


def defined(module: Path) -> set[str]:
    """Names that a module or a package's `__init__` binds at its top, and those of its classes' members."""
    file = module.with_suffix(".py") if module.with_suffix(".py").is_file() else module / "__init__.py"
    if not file.is_file():
        return set()
    tree = ast.parse(file.read_text())
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return found | {one for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for one in _bound(node)}


def _bound(node: ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name for alias in node.names]


def is_there(name: str) -> bool:
    """A module, a package, or what one of them defines."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    return any(set(name.split(".")[depth:]) <= defined(ROOT / "/".join(name.split(".")[:depth]))
               for depth in range(name.count("."), 0, -1))  # fmt: skip


def test_modules_that_docstrings_and_pages_name() -> None:
    gone = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in MODULE.findall(path.read_text(encoding="utf-8"))
        if not is_there(name)
    ]
    assert not gone
    assert not is_there("testbed.network.relay_process") and is_there("testbed.wire.framing.Frames.feed")
