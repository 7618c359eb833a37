"""A model's folder before libraries read it: pointers, cut and empty files by name; and what their words mean.

The libraries name no file, and some ask questions or end in their own exceptions. Here their errors become one line
with the file and what to do about it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.files.reading import (
    MIB,
    NO_LIMIT,
    as_text,
    one_line,
    read_bytes,
    reading,
    refuse_file,
    require_file,
    shown,
)

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
OWN_CODE = ("trust_remote_code", "custom code", "auto_map")  # in transformers' words about code in a folder
WHOLE = "fetch the file again, whole"
DECODERS = "choose a causal language model"


def check_texts(folder: Path) -> None:
    """BadInput for a JSON file of the folder that is none, such as a pointer of git LFS; big ones are not parsed."""
    for path in sorted(folder.glob("*.json")):
        size = require_file(path)
        if not size:
            refuse_file(path, f"is empty; {WHOLE}")
        if size <= MIB:  # their own library reads larger ones, such as vocabularies
            text = as_text(read_bytes(path), path)
            with reading(path, "JSON", WHOLE):
                json.loads(text)  # which takes Infinity as some configurations have it


def check_weights(folder: Path) -> None:
    """BadInput for a file of weights that is a pointer, empty or cut; only headers are read."""
    found = sorted(folder.glob("*.safetensors"))
    for path in found or sorted(folder.glob("*.bin")):
        if not require_file(path, NO_LIMIT):
            refuse_file(path, f"is empty; {WHOLE}")
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with reading(path, "a whole safetensors file", WHOLE), safe_open(str(path), framework="np"):
                pass


def explained(problem: BaseException, loader: Any, place: Path | str) -> str:
    """A library's error in one line, with the file that it must be about."""
    words, kind = one_line(problem), loader.__name__
    if any(sign in words for sign in OWN_CODE):
        return (
            f"{shown(place)} contains custom code (auto_map), which is never run; choose an architecture that "
            "transformers ships"
        )
    if "Tokenizer" in kind:
        path = Path(place) / TOKENIZER if isinstance(place, Path) else TOKENIZER
        if isinstance(place, Path) and not (place / TOKENIZER).is_file():
            return f"{shown(path)} is missing; copy the model's tokenizer files into the folder"
        return (
            f"{shown(path)} cannot be read by this version of tokenizers: {words}; it may need a newer transformers, "
            "or be damaged"
        )
    if "mismatch" in words:
        return f"its weights do not fit {shown(Path(str(place)) / CONFIG)}: {words}"
    return words or type(problem).__name__


def sees_ahead(model: Any) -> bool:
    """Whether a token's logits depend on the tokens after it, as they do where a model is not a decoder."""
    import torch

    with torch.inference_mode():
        ones, others = (model(input_ids=torch.tensor([[1, other]], device=model.device)).logits for other in (1, 0))
    return not torch.allclose(ones[0, 0], others[0, 0], rtol=1e-3, atol=1e-3)
