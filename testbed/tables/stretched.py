"""A made-up table for requests of any length: its outputs are dealt to prompts that are made of its prompts' tokens.

Rule kept: an output is as independent of its prompt's length as made-up outcomes are of prompts at all, so a few long
outputs serve any number of requests; a request stops where it wants to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from testbed.tables.table import DecodeTable, PromptTable
from testbed.workload.made import Text, pieces_of

POOL = 64  # outputs, dealt in turn


class _Made(Mapping[str, PromptTable]):
    """The table's prompts by name, and prompts made of them."""

    def __init__(self, prompts: Mapping[str, PromptTable]) -> None:
        self._prompts = prompts
        self._text = Text([(name, one.prompt) for name, one in prompts.items()])

    def __getitem__(self, name: str) -> PromptTable:
        if name in self._prompts:
            return self._prompts[name]
        pieces = pieces_of(name)
        if pieces is None:
            raise KeyError(name)
        return replace(self._prompts[pieces[-1].prompt_id], prompt=self._text.tokens(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)


def stretched(table: DecodeTable) -> DecodeTable:
    """The same table, which also holds every prompt that can be made of those it has."""
    assert table.synthetic, "a recorded output belongs to its prompt"
    return DecodeTable(table.name, table.provenance, _Made(table.prompts), table.sha256)
