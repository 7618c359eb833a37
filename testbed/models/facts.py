"""What an emulated run must know of a model before it loads anything: lengths, end tokens, how text becomes tokens.

transformers says it, once; it is kept (`testbed.models.kept`), and from then on no run waits for transformers to say
it again. Rule: text becomes the same tokens either way. The rules kept are those that transformers itself ended up
with, and are used only if they gave its tokens for `TRICKY`; a tokenizer that has none the `tokenizers` library could
take, or that goes about it in another way, stays with transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from testbed.models import kept
from testbed.models.generation import end_tokens
from testbed.models.limits import room_of, rows_of
from testbed.models.load import load_config, load_generation_config, load_tokenizer

TRICKY = (
    "The road to the city", " a space before", "two  spaces, a\ttab\n\nlines\n", "", "x", "3.14159 = 22/7, 1000000",
    "naïve café, 東京, emoji 🙂", "don't can't we'll", "<s> </s> <|endoftext|> <|im_start|>user\nHi<|im_end|>\n",
    "def f(x):\n    return x ** 2\n", "ALL CAPS and MixedCase", "e\u0301 and \u00e9, \u200b zero width",
)  # fmt: skip


class Facts(msgspec.Struct, frozen=True):
    """`rules`: of the tokenizer, as JSON of the tokenizers library; empty: only transformers knows how to use it."""

    rows: int | None
    room: int | None
    boundaries: tuple[int, ...]  # lengths at which something changes (`testbed.models.views`)
    ends: tuple[int, ...]
    rules: str = ""
    tokenizer_end: int | None = None  # its own end of text


class Tokenizer:
    """As much of a tokenizer as a run needs, without transformers."""

    def __init__(self, facts: Facts) -> None:
        self.backend_tokenizer = _backend(facts.rules)
        self.eos_token_id = facts.tokenizer_end

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.backend_tokenizer.encode(text).ids
        return ids

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self.backend_tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary


def facts_of(name: str) -> Facts:
    """From what is kept, or said by transformers now. Raises BadInput for a model that cannot be loaded."""
    path = kept.place(name, suffix=".facts.json")
    facts = kept.read(path, Facts)
    if facts is None:
        facts = _asked(name)
        kept.write(path, facts)
    return facts


def tokenizer_of(name: str) -> Any:
    """What gives `encode`, `get_vocab` and `eos_token_id`; transformers' own where it has to be."""
    facts = facts_of(name)
    return Tokenizer(facts) if facts.rules else load_tokenizer(name)


def _asked(name: str) -> Facts:
    from testbed.models.views import views_of

    config, tokenizer = load_config(name), load_tokenizer(name)
    return Facts(
        rows_of(config),
        room_of(config),
        views_of(config).boundaries,
        end_tokens(load_generation_config(name), config, tokenizer),
        _rules(tokenizer),
        tokenizer.eos_token_id,
    )


def _rules(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    rules: str = backend.to_str()
    ours = _backend(rules)
    same = all(ours.encode(text).ids == _ids(tokenizer.encode(text)) for text in TRICKY)
    return rules if same and ours.get_vocab(with_added_tokens=True) == tokenizer.get_vocab() else ""


def _ids(encoded: Sequence[int]) -> list[int]:
    return list(encoded)


def _backend(rules: str) -> Any:
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(rules)
    backend.no_truncation()  # as transformers does for a text of its own
    backend.no_padding()
    return backend
