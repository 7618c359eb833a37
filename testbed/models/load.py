"""Find and load a model: a shipped name, a folder, or a Hugging Face name, all through the same transformers calls.

Rules: a folder never touches the network; code in a model's folder is never run, and nothing is asked on standard
input; what is damaged is refused with its file (`testbed.models.folder`), and so are weights that leave a part of the
model to chance. Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from testbed.errors import BadInput
from testbed.models.folder import CONFIG, DECODERS, TOKENIZER, check_texts, check_weights, explained, sees_ahead
from testbed.models.generation import GENERATION_CONFIG, end_tokens
from testbed.models.lookup import LOOKUP, lookup_sha256
from testbed.models.threads import use_threads

PAIRS = Path(__file__).parent / "pairs"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
HASH_BLOCK = 1 << 20
ADDED_BY = {"smollm2-target": "smollm2"}  # models that `testbed models add` fetches (`testbed.models.added`)
MISFITS = {"ignore_mismatched_sizes": True}  # they are refused by name, in `_require_whole`


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer; `sha256` is that of its weights."""

    name: str
    model: Any
    tokenizer: Any
    sha256: str
    parameters: int
    ends: tuple[int, ...]  # the tokens that end its output


def shipped() -> dict[str, Path]:
    """Shipped models by the name users write, `PAIR-MODEL`."""
    folders = sorted(path.parent for path in PAIRS.glob("*/*/config.json"))
    return {f"{folder.parent.name}-{folder.name}": folder for folder in folders}


def added_models() -> Path:
    """Where `testbed models add` puts models: this user's data folder."""
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "wan-testbed" / "models"


def known_models() -> dict[str, Path]:
    """Models that have a name here: those that ship and those that were added."""
    added = {folder.parent.name: folder.parent for folder in sorted(added_models().glob("*/config.json"))}
    return {**shipped(), **added}


def resolve(name: str) -> Path | str:
    """The folder of a known name or of a path; a Hugging Face name (OWNER/MODEL) as it is."""
    if name == LOOKUP:
        raise BadInput(f"{LOOKUP} is a drafter without a model; only `models: {{draft: {LOOKUP}}}` can name it")
    known = known_models()
    if name in known:
        return known[name]
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise BadInput(f"model {name!r}: the folder has no config.json; choose a folder in transformers format")
    if HUB_NAME.fullmatch(name) and not name.startswith("."):
        return name
    if name in ADDED_BY:
        raise BadInput(f"model {name!r} is not on this machine yet: testbed models add {ADDED_BY[name]}")
    nearest = difflib.get_close_matches(name, [*known, LOOKUP], n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    choices = f"{', '.join(known)}, a folder, or a Hugging Face OWNER/MODEL"
    raise BadInput(f"model {name!r} is unknown: {hint}choose {choices}")


def require_known(target: str, draft: str) -> None:
    """BadInput for a name of a pair that says nothing here."""
    resolve(target)
    if draft != LOOKUP:
        resolve(draft)


def load_model(name: str, dtype: str = "float32", device: str = "cpu", threads: int | None = None) -> LoadedModel:
    """Load a causal model for inference. `threads` is for the whole process."""
    import torch
    from transformers import AutoModelForCausalLM

    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise BadInput(f"model {name!r}: dtype {dtype!r} is unknown; choose float32, float64, bfloat16 or float16")
    if threads is not None:
        use_threads(threads)
    if isinstance(place := resolve(name), Path):
        check_weights(place)
    with quiet():
        model, told = _from_pretrained(AutoModelForCausalLM, name, dtype=kind, output_loading_info=True, **MISFITS)
    _require_whole(name, model, told)
    model = model.to(device).eval()
    model.name_or_path = name
    tokenizer = load_tokenizer(name)
    ends = end_tokens(model.generation_config, model.config, tokenizer)
    return LoadedModel(name, model, tokenizer, model_hash(name), int(model.num_parameters()), ends)


def load_tokenizer(name: str) -> Any:
    """The tokenizer alone."""
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(AutoTokenizer, name)
    if not callable(getattr(tokenizer, "encode", None)) or not len(tokenizer):
        raise BadInput(f"model {name!r}: its tokenizer is empty; the folder needs {TOKENIZER}")
    return tokenizer


def load_config(name: str) -> Any:
    """The model's configuration alone."""
    from transformers import AutoConfig

    return _from_pretrained(AutoConfig, name)


def load_generation_config(name: str) -> Any:
    """What the model's folder says about generating; where it says nothing, what its configuration says."""
    from transformers import GenerationConfig

    if (local_folder(name) / GENERATION_CONFIG).is_file():
        return _from_pretrained(GenerationConfig, name)
    return GenerationConfig.from_model_config(load_config(name))


def check_same_tokenizer(target: str, draft: str, tokenizer_of: Callable[[str], Any] = load_tokenizer) -> None:
    """Raise unless both models turn the same text into the same ids; drafts are sent as ids."""
    require_known(target, draft)  # before any library is imported
    if draft == LOOKUP:
        return  # it repeats the target's
    ours, theirs = tokenizer_of(target), tokenizer_of(draft)
    difference = _tokenizer_difference(ours, theirs)
    if difference:
        raise BadInput(
            f"target {target!r} and draft {draft!r} have different tokenizers ({difference}); choose a pair that "
            "shares one"
        )


def model_hash(name: str) -> str:
    """SHA-256 of a model's weights: of the file, or of the list of names and hashes if there are several."""
    if name == LOOKUP:
        return lookup_sha256()
    folder = local_folder(name)
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise BadInput(f"model {name!r}: {folder} holds no *.safetensors or *.bin weights")
    hashes = [(path.name, _file_hash(path)) for path in files]
    return hashes[0][1] if len(hashes) == 1 else hashlib.sha256(repr(hashes).encode()).hexdigest()


def _tokenizer_difference(ours: Any, theirs: Any) -> str:
    """What differs first, in words; empty if nothing does."""
    ours_ids, theirs_ids = ours.get_vocab(), theirs.get_vocab()
    if len(ours_ids) != len(theirs_ids):
        return f"vocabularies of {len(ours_ids)} and {len(theirs_ids)} tokens"
    moved = min((token for token, index in ours_ids.items() if theirs_ids.get(token) != index), default=None)
    if moved is not None:
        return f"token {moved!r} has ids {ours_ids[moved]} and {theirs_ids.get(moved, 'none')}"
    if ours.eos_token_id != theirs.eos_token_id:
        return f"end-of-text ids {ours.eos_token_id} and {theirs.eos_token_id}"
    for part in ("model", "normalizer", "pre_tokenizer"):
        if _rules(ours, part) != _rules(theirs, part):
            return f"other {part} rules"
    return ""


def _rules(tokenizer: Any, part: str) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.loads(backend.to_str()).get(part) if backend is not None else None


def _from_pretrained(loader: Any, name: str, **settings: Any) -> Any:
    """One call for folders and Hugging Face names; a folder is never looked up on the network.

    What the libraries raise about a folder has no common class: a panic of the tokenizers' is no Exception even.
    """
    place = resolve(name)
    if isinstance(place, Path):
        check_texts(place)
    try:
        return loader.from_pretrained(
            str(place), local_files_only=isinstance(place, Path), trust_remote_code=False, **settings
        )
    except BaseException as problem:
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
            raise
        raise BadInput(f"model {name!r} cannot be loaded: {explained(problem, loader, place)}") from problem


def _require_whole(name: str, model: Any, told: Mapping[str, Any]) -> None:
    """transformers fills what it does not find with random numbers, and says so in a warning only."""
    kind = type(model).__name__
    for what, found in (("lack", told.get("missing_keys")), ("do not fit", told.get("mismatched_keys"))):
        if found:
            first = sorted(str(one[0] if isinstance(one, tuple) else one) for one in found)[0]
            if sees_ahead(model):
                raise BadInput(
                    f"model {name!r}: {kind} is not a decoder: its tokens attend to later tokens; {DECODERS}"
                )
            raise BadInput(
                f"model {name!r}: its weights {what} {len(found)} of the parameters of {kind}, {first} for example; "
                f"its {CONFIG} belongs to another model, or files are missing"
            )


def local_folder(name: str) -> Path:
    """Where a model's files lie on this machine; never fetches."""
    place = resolve(name)
    if isinstance(place, Path):
        return place
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(place, local_files_only=True))
    except LocalEntryNotFoundError:
        raise BadInput(f"model {name!r} has not been downloaded; load it once with network access") from None


def _file_hash(path: Path) -> str:
    facts = path.stat()
    return _hash_of(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)


@cache
def _hash_of(path: Path, *changing: int) -> str:
    """Read once for each state of the file that this process meets."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings about its own internals; errors still pass."""
    from transformers.utils import logging

    was_on, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_on:
            logging.enable_progress_bar()
