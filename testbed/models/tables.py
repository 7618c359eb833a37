"""Decode tables: what a target and a drafter do on a prompt set, recorded once so that a simulation can replay it.

Greedy output does not depend on the policy, so all a policy can ever ask of the two models follows from the target's
output and, at each of its positions, the drafter's own continuation ("rollout") for `depth` tokens. A prompt with N
recorded output tokens has N + 1 positions: at position n the first n output tokens are known. The last, N, has a
drafter's state but no target token.

Rules kept, checked whenever a table is made or read: every position is complete, and where the drafter's first choice
is the target's token its rollout is that token followed by the next position's rollout. Importing this needs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from testbed.errors import BadInput
from testbed.repository import available
from testbed.yamlfile import nearest

FOLDER = "workloads/tables"
SUFFIX = ".parquet"

Ints = tuple[int, ...]
Floats = tuple[float, ...]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a table comes from. Hashes are SHA-256: of weights, and of the prompt file."""

    target: str
    draft: str
    prompts: str
    depth: int  # tokens of each rollout
    output_tokens: int  # asked for; a prompt may have fewer where its output ended
    eos: int | None  # where outputs end, after which `depth` more tokens are recorded; None: it was ignored
    second_choice: bool = True  # whether rollouts from the drafter's second choice were recorded too
    synthetic: bool = False  # made up, not recorded from models
    target_sha256: str = ""
    draft_sha256: str = ""
    prompts_sha256: str = ""
    dtype: str = ""
    versions: dict[str, str] = {}
    note: str = ""


class PromptTable(msgspec.Struct, frozen=True):
    """One prompt. The first three have N entries, by output position; the others N + 1. Entropies are in nats.

    `rollout_*[n]` are the drafter's greedy choices after the prompt and n output tokens, with its entropy and largest
    probability at each. `second_*[n]` start with its second choice instead (whose own probability is the confidence at
    0) and go on greedily; all three are empty in a table recorded without them.
    """

    prompt: Ints
    tokens: Ints  # the target's greedy output
    entropies: Floats
    top2_gaps: Floats  # between the target's two largest logits
    top_tokens: tuple[Ints, ...]  # the drafter's most probable tokens, best first
    top_probabilities: tuple[Floats, ...]
    margins: Floats  # drafter: largest minus second largest probability
    logit_variances: Floats  # drafter: over the vocabulary
    rollout_tokens: tuple[Ints, ...]
    rollout_entropies: tuple[Floats, ...]
    rollout_confidences: tuple[Floats, ...]
    second_tokens: tuple[Ints, ...] = ()
    second_entropies: tuple[Floats, ...] = ()
    second_confidences: tuple[Floats, ...] = ()

    def matched(self, position: int) -> int:
        """Leading tokens of the rollout at `position` that are the target's own."""
        count = 0
        for ours, theirs in zip(self.rollout_tokens[position], self.tokens[position:], strict=False):
            if ours != theirs:
                break
            count += 1
        return count


class Rollout(NamedTuple):
    """Greedy choices in a row, with the drafter's entropy (nats) and largest probability at each."""

    tokens: Ints = ()
    entropies: Floats = ()
    confidences: Floats = ()

    def after(self, token: int, entropy: float, confidence: float, length: int) -> Rollout:
        """Another choice first, then this rollout; `length` in all."""
        rest = length - 1
        return Rollout(
            (token, *self.tokens[:rest]),
            (entropy, *self.entropies[:rest]),
            (confidence, *self.confidences[:rest]),
        )


@dataclass(frozen=True)
class DecodeTable:
    """A checked table; make one with `make_table` or `load_table`. `sha256` is that of everything in it."""

    name: str
    provenance: Provenance
    prompts: Mapping[str, PromptTable]
    sha256: str

    @property
    def target(self) -> str:
        return self.provenance.target

    @property
    def draft(self) -> str:
        return self.provenance.draft

    @property
    def depth(self) -> int:
        return self.provenance.depth

    @property
    def synthetic(self) -> bool:
        return self.provenance.synthetic

    def write(self, path: Path) -> None:
        """Write one parquet file; `load_table` gives an equal table back."""
        from testbed.models.tables_file import write_table

        write_table(self, path)


def make_table(name: str, provenance: Provenance, prompts: Mapping[str, PromptTable]) -> DecodeTable:
    """A table of these prompts. Raises BadInput, with prompt and position, for what breaks the rules."""
    if not prompts:
        raise BadInput(f"decode table {name}: holds no prompt")
    for key, one in prompts.items():
        if problem := _problem(one, provenance):
            raise BadInput(f"decode table {name}: prompt {key!r}: {problem}; record the table again")
    return DecodeTable(name, provenance, prompts, content_hash(provenance, prompts))


def load_table(name_or_path: str) -> DecodeTable:
    """A table by name from `workloads/tables/`, or by path. Raises BadInput."""
    from testbed.models.tables_file import read_table

    if "/" in name_or_path or name_or_path.endswith(SUFFIX):
        return read_table(Path(name_or_path))
    known = available(FOLDER, SUFFIX)
    if name_or_path not in known:
        raise BadInput(f"decode table {name_or_path!r} is not in {FOLDER}/{nearest(name_or_path, known)}")
    return read_table(known[name_or_path])


def content_hash(provenance: Provenance, prompts: Mapping[str, PromptTable]) -> str:
    """Of the values, so independent of how a parquet library lays them out."""
    encoder = msgspec.msgpack.Encoder(order="deterministic")
    digest = hashlib.sha256(encoder.encode(provenance))
    for key, one in prompts.items():
        digest.update(encoder.encode((key, one)))
    return digest.hexdigest()


def _problem(one: PromptTable, provenance: Provenance) -> str | None:
    """The first broken rule in words, None if all hold."""
    count = len(one.tokens)
    if not one.prompt or not count:
        return "has no prompt tokens or no output tokens"
    if not len(one.entropies) == len(one.top2_gaps) == count:
        return f"{count} output tokens with {len(one.entropies)} entropies and {len(one.top2_gaps)} gaps"
    states = (one.top_tokens, one.top_probabilities, one.margins, one.logit_variances)
    rollouts = (one.rollout_tokens, one.rollout_entropies, one.rollout_confidences)
    seconds = (one.second_tokens, one.second_entropies, one.second_confidences)
    if any(len(column) != count + 1 for column in (*states, *rollouts)):
        return f"{count} output tokens need {count + 1} drafter states"
    if any(len(column) != (count + 1) * provenance.second_choice for column in seconds):
        return "has not the rollouts from second choices that its provenance says"
    for column in (*rollouts, *seconds):
        short = next((at for at, row in enumerate(column) if len(row) != provenance.depth), None)
        if short is not None:
            return f"position {short}: a rollout of {len(column[short])} tokens in a table of depth {provenance.depth}"
    for at, token in enumerate(one.tokens):
        if one.rollout_tokens[at][0] == token:
            for column in rollouts:
                if column[at][1:] != column[at + 1][:-1]:
                    return f"position {at}: the rollout agrees with the target but does not go on as the next one"
    return None
