"""Files that people name: which file a name or a path means, for every kind of them.

Rule kept: text with a slash or the kind's suffix is a path and nothing else; any other text is a name and nothing else.
`others` says which files a reader might have meant besides.
"""

from __future__ import annotations

import filecmp
import os
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import BadInput
from testbed.files.datafiles import available, folders
from testbed.files.reading import shown
from testbed.files.yamlfile import nearest, said


@dataclass(frozen=True)
class Kind:
    """One kind of file that people name: what it is called, the folder of those that have names, and its suffix."""

    what: str
    folder: str
    suffix: str
    deep: bool = False  # files of folders inside have names too, `wanspec/same-coast`
    but: tuple[str, ...] = ()  # files that lie there and are something else
    also: tuple[str, ...] = ()  # suffixes of files that have no names, but can be meant by their paths


TOPOLOGY = Kind("topology", "topologies", ".yaml")
PROMPTS = Kind("prompt set", "workloads/prompts", ".jsonl", also=(".json",))
SERIES = Kind("RTT trace", "workloads/rtt", ".csv")
LOAD = Kind("load", "workloads/load", ".yaml", also=(".csv", ".json", ".jsonl", ".txt"))
TABLE = Kind("decode table", "workloads/tables", ".parquet")
EXPERIMENT = Kind("experiment", "experiments", ".yaml", deep=True, but=("claims.yaml",))


def known(kind: Kind) -> dict[str, Path]:
    """Files of one kind by name."""
    found = available(kind.folder, kind.suffix, kind.deep)
    return {name: path for name, path in found.items() if path.name not in kind.but}


def is_path(text: str, kind: Kind) -> bool:
    """Whether the text can only be a path; for experiments a slash alone does not say so."""
    if kind.deep:
        return text.endswith((".yaml", ".yml")) or text.startswith(("/", "./", "../", "~"))
    own = (".yaml", ".yml") if kind.suffix == ".yaml" else (kind.suffix,)
    return "/" in text or text.endswith((*own, *kind.also))


def experiment(text: str) -> Path:
    """An experiment's file by name or path; unlike other files it may have any suffix. Raises BadInput."""
    if not is_path(text, EXPERIMENT) and text not in known(EXPERIMENT) and Path(text).is_file():
        return Path(text)
    return find(text, EXPERIMENT)


def find(text: str, kind: Kind) -> Path:
    """The file that is meant, which need not be there if `text` is a path. Raises BadInput for an unknown name."""
    if is_path(text, kind):
        return Path(text)
    names = known(kind)
    if text not in names:
        raise BadInput(f"{kind.what} {said(text)} is not in {kind.folder}/{nearest(text, names)}")
    return names[text]


def others(text: str, kind: Kind, beside: Path) -> list[Path]:
    """Files that `text` might mean too: of its name in the folder `beside`, or in a folder that is looked at later.

    For a path: the file whose name it would be without the suffix.
    """
    if is_path(text, kind):
        taken, stem = Path(text), Path(text).name.removesuffix(kind.suffix)
        there = [known(kind)[stem]] if stem in known(kind) else []
    else:
        taken = find(text, kind)
        there = [beside / text, beside / f"{text}{kind.suffix}"]
        there += [folder / f"{text}{kind.suffix}" for folder in folders(kind.folder)]
    real = {os.path.realpath(taken)}
    found = []
    for path in there:
        if path.is_file() and (where := os.path.realpath(path)) not in real and not _same(path, taken):
            real.add(where)
            found.append(path)
    return found


def _same(one: Path, other: Path) -> bool:
    """A file of equal content is not worth a line."""
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def told(text: str, kind: Kind, beside: Path) -> str | None:
    """Which file was taken, and which was not, where there is a choice; None where there is none.

    An unknown name is no choice: its reader refuses it, if it is read at all, which made-up outcomes do not need.
    """
    if not is_path(text, kind) and text not in known(kind):
        return None
    not_taken = others(text, kind, beside)
    if not not_taken:
        return None
    listed, taken = ", ".join(shown(path) for path in not_taken), shown(find(text, kind))
    how = f"write {Path(text).name.removesuffix(kind.suffix)}" if is_path(text, kind) else "write its path"
    return f"{kind.what} {said(text)} is {taken}; for {listed} {how}"
