"""What the documentation names is there: pages, headings, paths of this repository, and verbs of the command line."""

from __future__ import annotations

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
