"""The part of a decode table that one node of a run needs, as a file it can read without the libraries of tables.

Rule kept: what is carried is what a checked table holds, unchanged; the node's programs check nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from testbed.tables.table import DecodeTable, PromptTable, Provenance


class Carried(msgspec.Struct, frozen=True):
    """`prompts` by the table's keys."""

    name: str
    provenance: Provenance
    prompts: dict[str, PromptTable]
    sha256: str  # of the whole table


def carry(table: DecodeTable, keys: Iterable[str]) -> bytes:
    """The outputs with these keys; those that the table does not hold are left out."""
    prompts = {key: table.prompts[key] for key in dict.fromkeys(keys) if key in table.prompts}
    return msgspec.msgpack.encode(Carried(table.name, table.provenance, prompts, table.sha256))


def carried(data: bytes) -> DecodeTable:
    """The table again, with the outputs that were carried."""
    one = msgspec.msgpack.decode(data, type=Carried)
    return DecodeTable(one.name, one.provenance, one.prompts, one.sha256)
