"""Read the training text: public-domain books, and this Python's own library sources and language reference.

Rule: the same files give the same documents in the same order on any machine; a hash accounts for every byte read.
"""

from __future__ import annotations

import hashlib
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import BadInput
from testbed.training.options import TrainingOptions

SKIPPED_FOLDERS = frozenset(
    ("test", "tests", "site-packages", "pydoc_data", "lib2to3", "idlelib", "encodings", "turtledemo", "ensurepip")
)
SOURCE_CHARACTERS = range(1_500, 60_000)  # shorter files are stubs, longer ones tables


@dataclass(frozen=True)
class Source:
    """One input file (or one body of text) as it was read, for the model card."""

    name: str
    sha256: str
    characters: int
    files: int = 1


@dataclass
class Corpus:
    """Documents by domain, in training order (the core is taken from the beginning), and where they came from."""

    documents: dict[str, list[str]] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)

    def add(self, domain: str, source: Source, documents: list[str]) -> None:
        if documents:
            self.documents.setdefault(domain, []).extend(documents)
            self.sources.append(source)


def read_corpus(options: TrainingOptions) -> Corpus:
    """All documents of the run, core book first."""
    books = sorted(options.text.glob("*.txt"), key=lambda path: (path.name != options.core_book, path.name))
    if not books:
        raise BadInput(f"{options.text}: no *.txt files to train on; choose a folder with plain-text books")
    corpus = Corpus()
    for path in books:
        raw = path.read_bytes()
        text = _ascii(raw.decode("utf-8").replace("\r\n", "\n"))
        source = Source(path.name, hashlib.sha256(raw).hexdigest(), len(text))
        if path.name == options.drama_book:
            corpus.add("drama", source, [text])
        else:
            corpus.add("story", source, [_unwrap(text)])
    if options.python_text:
        sources = list(_library_sources())
        corpus.add("code", _summary("Python standard library sources", sources), sources)
        reference = _language_reference()
        corpus.add("docs", _summary("Python language reference (pydoc topics)", reference), reference)
    return corpus


def _ascii(text: str) -> str:
    return text.encode("ascii", "ignore").decode("ascii")


def _unwrap(text: str) -> str:
    """One line a paragraph, so that a line break means the end of a paragraph."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip())


def _library_sources() -> Iterator[str]:
    """Middle-sized ASCII sources of the standard library, shuffled once by a fixed seed."""
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path.relative_to(library).as_posix() for path in library.rglob("*.py"))
    random.Random(0).shuffle(paths)
    for name in paths:
        if SKIPPED_FOLDERS.isdisjoint(name.split("/")):
            text = (library / name).read_text(encoding="utf-8", errors="ignore")
            if len(text) in SOURCE_CHARACTERS and text.isascii():
                yield text


def _language_reference() -> list[str]:
    from pydoc_data import topics

    return [_ascii(text) for _, text in sorted(topics.topics.items())]


def _summary(name: str, documents: list[str]) -> Source:
    digest = hashlib.sha256("\0".join(documents).encode()).hexdigest()
    return Source(name, digest, sum(map(len, documents)), len(documents))
