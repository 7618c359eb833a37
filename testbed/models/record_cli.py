"""What `testbed record` does: checks where the table is to go before time is spent, records, writes, describes it."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import BadInput
from testbed.models.record import Progress, record
from testbed.models.tables import SUFFIX, DecodeTable
from testbed.workload.prompts import load_prompts


def record_to_file(
    target: str,
    draft: str,
    prompts: str,
    output_tokens: int,
    depth: int,
    out: Path,
    ignore_eos: bool = False,
    second_choice: bool = True,
    progress: Progress = lambda _: None,
) -> str:
    """Record the pair over a prompt set into `out`; returns what there is to say about it."""
    if out.suffix != SUFFIX:
        raise BadInput(f"--out {out}: a decode table is a {SUFFIX} file; name it so")
    if not out.parent.is_dir():
        raise BadInput(f"--out {out}: there is no folder {out.parent}; make it first")
    name = out.name.removesuffix(SUFFIX)
    table = record(
        target, draft, load_prompts(prompts), output_tokens, depth, ignore_eos, progress, second_choice, name
    )
    table.write(out)
    return f"{out}: {describe(table)}, {out.stat().st_size} bytes"


def describe(table: DecodeTable) -> str:
    """Size, agreement and identity in one line."""
    tokens = sum(len(one.tokens) for one in table.prompts.values())
    matches = sum(one.matched(at) > 0 for one in table.prompts.values() for at in range(len(one.tokens)))
    return (
        f"{len(table.prompts)} prompts, {tokens} output tokens, depth {table.depth}, the drafter agrees at "
        f"{100 * matches / tokens:.1f} %, sha256 {table.sha256[:12]}"
    )
