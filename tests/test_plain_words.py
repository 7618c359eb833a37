"""Plain English, kept: words that a reader of this field does not expect do not come back, with what to write instead.

Looked at: every string and docstring of `testbed/`, and the pages of the documentation outside generated sections.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = re.compile(r"<!-- begin .*?<!-- end ", re.DOTALL)
UNITS = (
    "node|pass|request|core|link|policy|row|point|token|message|prompt|round|user|pair|peer|job|step|phase|trial|run|leaf|"
    "process|packet|device|site|role|layer|position|metric|fabric|rate|region|drafter|member|server|machine"
)
COUNTED = (
    "row|file|line|store|cache|token|request|object|node|process|container|entry|level|output|sample|core|job|worker|"
    "struct|loop|probe|queue|message|pair|packet|figure|number|tensor|link|directory|prompt"
)
THINGS = "error|sweep|row|file|list|number|time|mapping|pair|link|node|command|policy|table|text"
INSTEAD = {
    r"mend(s|ed|ing)?": "fix",
    r"(a|each|every|the|its) lack(?! of)": "what is missing",
    r"promise[sd]?": "SLO",
    r"(is|are|not) to be had|can(not)? be had": "available",
    r"nobody('s)?": "say what happens: 'is dropped', 'no request does'",
    r"of (its|their|our|one's) own(?! (accord|path))": "its own ..., separate",
    rf"(?<!here )(is|are) no ({THINGS})s?": "is not a",
    rf"(one|two|three|four|[0-9]+) ({COUNTED})s? an? ({UNITS})": "per",
    r"twin": "simulated counterpart",
    r"fall-backs?": "fallback",
    r"time-outs?": "timeout",
    r"on (its|their) way": "in flight",
    r"ordered pairs?": "directed link",
    r"in as many words": "nothing",
    r"hangs? on": "depends on",
}
WORDS = [(re.compile(rf"\b{pattern}\b", re.IGNORECASE), instead) for pattern, instead in INSTEAD.items()]
MEANT = (
    "fall-back.yaml",
    "sled-fall-back",
    "ordered pair of nodes",
)  # a file's name and its experiment's; the glossary's definition of a directed link


def defects(text: str) -> Iterator[str]:
    for meant in MEANT:
        text = text.replace(meant, "")
    for pattern, instead in WORDS:
        for found in pattern.finditer(text):
            yield f"'{found[0]}': {instead}"


def strings(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def test_strings_and_docstrings() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {defect}"
        for path in sorted((ROOT / "testbed").rglob("*.py"))
        for line, text in strings(path.read_text())
        for defect in defects(text)
    ]
    assert not found, "\n".join(found)


def test_pages() -> None:
    pages = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
    pages += sorted((ROOT / "testbed").rglob("*.j2"))
    pages += [path for folder in ("experiments", "topologies", "workloads") for path in (ROOT / folder).rglob("*.yaml")]
    found = [
        f"{path.relative_to(ROOT)}: {defect}"
        for path in pages
        if path.name != "CHANGELOG.md"
        for defect in defects(GENERATED.sub("", path.read_text()))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("the one command that mends it", "mends"),
        ("one row a policy", "one row a policy"),
        ("x is no sweep", "is no sweep"),
    ],
)
def test_a_word_is_found(text: str, word: str) -> None:
    (defect,) = defects(text)
    assert defect.startswith(f"'{word}': ")
