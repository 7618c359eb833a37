"""How long a text a model has positions for, and how many tokens it has rows for: read off its configuration.

Rule: what does not fit is said before anything runs, by these functions; a pass that goes too far all the same ends the
run with the same words (`testbed.models.runtime`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from testbed.errors import BadInput


class Text(NamedTuple):
    """A prompt and how far what follows it may come to reach, as tokens that a model is fed."""

    prompt_id: str
    prompt: Sequence[int]
    reach: int
    what: str = "with its output"


def room_of(config: Any) -> int | None:
    """Tokens that the model has positions for; None: as many as there are (ALiBi)."""
    text = config.get_text_config(decoder=True)
    if getattr(text, "alibi", False) or getattr(getattr(text, "attn_config", None), "alibi", False):
        return None
    for name in ("max_position_embeddings", "max_seq_len", "n_positions"):
        room = getattr(text, name, None)
        if isinstance(room, int) and room > 0:
            return room
    return None


def rows_of(config: Any) -> int | None:
    """Tokens that the model has rows for; None: its configuration does not say."""
    size = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    return size if isinstance(size, int) else None


def require_room(name: str, rows: int | None, room: int | None, texts: Iterable[Text]) -> None:
    """BadInput where the model `name` is too short for one of the texts, or lacks a token of a prompt."""
    for one in texts:
        if not one.prompt:
            raise BadInput(f"model {name!r}: prompt {one.prompt_id!r} is empty after tokenization")
        if room is not None and one.reach > room:
            raise BadInput(
                f"model {name!r} has room for {room} tokens; prompt {one.prompt_id!r} {one.what} has {one.reach}: "
                "ask for fewer output tokens"
            )
        if rows is not None and max(one.prompt) >= rows:
            raise BadInput(
                f"model {name!r} has only {rows} token rows (vocab_size {rows}); prompt {one.prompt_id!r} holds "
                f"token {max(one.prompt)}: its tokenizer belongs to another model"
            )
