"""Whether the models of an experiment can do what its policies ask of them: said before anything is made.

Rule: a model is tried (`testbed.models.selftest`) once for its weights, configuration, library versions and this code,
and what was found is kept in the user's cache folder; nodes are told, and try nothing again. Only the kinds of pass
that are wrong are refused, and only where a policy needs them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from testbed.errors import BadInput
from testbed.files.reading import decode_json, read_bytes
from testbed.models.fit import Fitness
from testbed.models.folder import CONFIG
from testbed.models.generation import GENERATION_CONFIG
from testbed.models.guard import NotNumbers
from testbed.models.limits import Text, require_room, rows_of
from testbed.models.load import LoadedModel, load_config, load_model, local_folder, model_hash
from testbed.models.passes import TRANSFORMERS, passes_of
from testbed.models.selftest import BATCH, KINDS, SINGLE, TREE, Findings, differs_from_generate, examine, lengths_for

DTYPE = "float32"  # what losslessness is claimed for
VERSIONED = ("torch", "transformers", "numpy")
CACHE = "wan-testbed/models"
MAX_BYTES = 1 << 16
NAMES = {SINGLE: "passes with a cache that is rewound", TREE: "passes over trees of drafts", BATCH: "batched passes"}

Load = Callable[[], LoadedModel]


class Known(msgspec.Struct, frozen=True):
    """What the cache keeps of one model; `generate` says how its decoding leaves that of `generate()`."""

    findings: Findings
    generate: str = ""


def require_fit(
    models: Mapping[str, str],
    needs: Mapping[str, Mapping[str, str]],
    texts: Sequence[Text],
    loaded: Mapping[str, LoadedModel] | None = None,
) -> Fitness:
    """BadInput where a model is too short, or is not right in a kind of pass that is needed.

    `models` by role; `needs` by role and kind of pass, with who needs it; `loaded` what is in memory already.
    """
    refused: dict[str, dict[str, str]] = {}
    vocabularies: dict[str, int] = {}
    for role, name in models.items():
        config = load_config(name)
        require_room(name, config, texts)
        if (rows := rows_of(config)) is not None:
            vocabularies[role] = rows
    for role, name in models.items():
        have = (loaded or {}).get(role)
        known = _known(name, max(one.reach for one in texts), texts[0].prompt, have)
        if role == "target" and known.generate:
            raise BadInput(
                f"model {name!r}: target-only decoding differs from transformers' generate(): {known.generate}"
            )
        wrong = {kind: why for kind in NAMES if (why := getattr(known.findings, kind))}
        refused[role] = {kind: _words(name, kind, why) for kind, why in wrong.items()}
        for kind, who in {SINGLE: "every policy", **needs.get(role, {})}.items():
            if kind in wrong:
                raise BadInput(f"{refused[role][kind]}; {who} needs them: choose another model or policy")
    return Fitness(refused, vocabularies)


def _words(name: str, kind: str, why: str) -> str:
    return f"model {name!r} computes {NAMES[kind]} incorrectly: {why}"


def _known(name: str, reach: int, prompt: Sequence[int], loaded: LoadedModel | None) -> Known:
    """From the cache, or found now."""
    lengths = lengths_for(load_config(name), reach)
    path = _place(name, lengths)
    if path is not None and (kept := _read(path)) is not None:
        return kept
    if loaded is None:
        loaded = load_model(name, DTYPE, threads=1)
    model = loaded

    chosen = passes_of(model.model)
    reference = passes_of(model.model, TRANSFORMERS).runtime
    try:
        findings = examine(model, reference, reach)
        if chosen.path != TRANSFORMERS:  # what runs must be right, and so must what it is compared with
            other = examine(model, chosen.runtime, reach)
            worse = {kind: getattr(findings, kind) or getattr(other, kind) for kind in KINDS}
            findings = Findings(**worse, lengths=other.lengths)
        known = Known(findings, "" if findings.single else differs_from_generate(model, reference, prompt))
    except NotNumbers as error:
        raise BadInput(str(error)) from error
    if path is not None:
        _write(path, known)
    return known


def _place(name: str, lengths: Sequence[int]) -> Path | None:
    """Where the findings are kept; None where this user has no private folder for them."""
    folder = _folder()
    if folder is None:
        return None
    model = local_folder(name)
    parts = [
        model_hash(name),
        *(_hash_of(model / file) for file in (CONFIG, GENERATION_CONFIG)),
        *(importlib.metadata.version(package) for package in VERSIONED),
        _code(),
        DTYPE,
        *map(str, lengths),
    ]
    return folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()}.json"


def _hash_of(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.is_file() else ""


def _code() -> str:
    """Of everything that a pass goes through."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.glob("lean/*.py"), *(here.parent / "decoding").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _folder() -> Path | None:
    """The cache folder, created if necessary: this user's, and writable by this user only."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if not base.is_absolute():
            return None
        folder = base
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in ("", *CACHE.split("/")):
            folder = folder / part
            if part:
                folder.mkdir(mode=0o700, exist_ok=True)
            facts = folder.lstat()
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                return None
    except (OSError, RuntimeError):
        return None
    return folder


def _read(path: Path) -> Known | None:
    try:
        return decode_json(read_bytes(path, MAX_BYTES), path, Known)
    except BadInput:  # not there, or damaged: found anew
        return None


def _write(path: Path, known: Known) -> None:
    """Whole or not at all. A cache that cannot be written costs time, nothing else."""
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(known))
        Path(temporary).replace(path)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
