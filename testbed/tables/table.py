"""Decode tables: what a target and a drafter do on a prompt set, recorded once so that a simulation can replay it.

The target's output does not depend on the policy, so all a policy can ever ask of the two models follows from that
output and, at each of its positions, the drafter's own continuation ("rollout") for `depth` tokens. A prompt with N
recorded output tokens has N + 1 positions: at position n the first n output tokens are known. The last, N, has a
drafter's state but no target token.

That holds for greedy decoding, and for sampling by seeded coupling, where the target draws each token with the
position's own random number whatever was drafted: there a table holds one output per prompt and request seed.

Rules kept, checked whenever a table is made or read: every position is complete, and where the drafter's first choice
is the target's token its rollout is that token followed by the next position's rollout. Importing this needs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from testbed.decoding.sampling import Sampling
from testbed.errors import BadInput
from testbed.files.named import TABLE, find

# What to do about a question that no table answers.
LIVE = "let the models run (--engine emulation with compute.models: live)"

OF_LOAD = "prompts made for load "

Ints = tuple[int, ...]
Floats = tuple[float, ...]


class SampledFrom(msgspec.Struct, frozen=True, kw_only=True):
    """The law of a sampled table's outputs, and whose draws they are: an experiment's, by its seed, in its repeats."""

    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0  # of the experiment; requests have theirs from it (`testbed.decoding.rng.request_seed`)
    repeats: int = 1  # recorded are 0 to repeats - 1

    def with_seed(self, request_seed: int) -> Sampling:
        """What a request with this seed is decoded with."""
        return Sampling(self.temperature, self.top_k, self.top_p, request_seed)


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a table comes from. Hashes are SHA-256: of weights, and of the prompt file."""

    target: str
    draft: str
    prompts: str
    depth: int  # tokens of each rollout
    output_tokens: int  # asked for; a prompt may have fewer where its output ended
    # The tokens that end an output, after which `depth` more are recorded; None: ends were ignored. One alone is
    # written without brackets, so that tables of such models keep their hash.
    eos: int | Ints | None
    second_choice: bool = True  # whether rollouts from the drafter's second choice were recorded too
    synthetic: bool = False  # made up, not recorded from models
    target_sha256: str = ""
    draft_sha256: str = ""
    prompts_sha256: str = ""
    dtype: str = ""
    versions: dict[str, str] = {}
    note: str = ""
    # How outputs were sampled; unset: greedy. Unset is not encoded, so that greedy tables keep their hash.
    sampling: SampledFrom | msgspec.UnsetType = msgspec.UNSET

    @property
    def load(self) -> str | None:
        """For whose lengths its prompts were made of the set's; it stands in the note, as a field more would change
        the hash of every table."""
        return self.note.removeprefix(OF_LOAD) if self.note.startswith(OF_LOAD) else None

    @property
    def ends(self) -> Ints:
        """The tokens that end an output; none where they were ignored."""
        return () if self.eos is None else (self.eos,) if isinstance(self.eos, int) else self.eos


class RolloutFeatures(msgspec.Struct, frozen=True):
    """As `margins` and `logit_variances` of a prompt's table, but at each token of `rollout_tokens`."""

    margins: tuple[Floats, ...]
    logit_variances: tuple[Floats, ...]


class PromptTable(msgspec.Struct, frozen=True):
    """One output of a prompt. The first three have N entries, by output position; the others N + 1. Entropies: nats.

    `rollout_*[n]` are the drafter's greedy choices after the prompt and n output tokens, with its entropy and largest
    probability at each. `second_*[n]` start with its second choice instead (whose own probability is the confidence at
    0) and go on greedily; all three are empty in a table recorded without them.
    """

    prompt: Ints
    tokens: Ints  # the target's output
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
    # Unset where a table was recorded without; unset is not encoded, so that those tables keep their hash. (One field:
    # a sixteenth would change the header of the encoded struct, and with it every hash.)
    rollout_features: RolloutFeatures | msgspec.UnsetType = msgspec.UNSET

    def matched(self, position: int) -> int:
        """Leading tokens of the rollout at `position` that are the target's own."""
        count = 0
        for ours, theirs in zip(self.rollout_tokens[position], self.tokens[position:], strict=False):
            if ours != theirs:
                break
            count += 1
        return count


class Rollout(NamedTuple):
    """Greedy choices in a row, with the drafter's numbers at each; entropies are in nats."""

    tokens: Ints = ()
    entropies: Floats = ()
    confidences: Floats = ()
    margins: Floats = ()
    logit_variances: Floats = ()

    def after(
        self,
        token: int,
        entropy: float,
        confidence: float,
        length: int,
        margin: float | None = None,
        logit_variance: float | None = None,
    ) -> Rollout:
        """Another choice first, then this rollout; `length` in all. Without margins where none is given."""
        rest = length - 1
        return Rollout(
            (token, *self.tokens[:rest]),
            (entropy, *self.entropies[:rest]),
            (confidence, *self.confidences[:rest]),
            () if margin is None else (margin, *self.margins[:rest]),
            () if logit_variance is None else (logit_variance, *self.logit_variances[:rest]),
        )


@dataclass(frozen=True)
class DecodeTable:
    """A checked table; make one with `make_table` or `load_table`. `sha256` is that of everything in it.

    Keys of `prompts` are prompt ids, or those of `output_key` in a sampled table.
    """

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

    @cached_property
    def prompt_tokens(self) -> dict[str, Ints]:
        """Each prompt's token ids by prompt id, in the order of the prompt set."""
        return {prompt_of(key, self.provenance): one.prompt for key, one in self.prompts.items()}

    def output(self, prompt_id: str, sampling: Sampling) -> PromptTable | None:
        """What was recorded for a request with this prompt and sampling; None if the table does not hold it."""
        made = self.provenance.sampling
        if sampling.greedy != (made is msgspec.UNSET):
            return None
        if made is not msgspec.UNSET and made.with_seed(sampling.seed) != sampling:
            return None
        return self.prompts.get(output_key(prompt_id, sampling))

    def write(self, path: Path) -> None:
        """Write one parquet file; `load_table` gives an equal table back."""
        from testbed.tables.file import write_table

        write_table(self, path)


def output_key(prompt_id: str, sampling: Sampling) -> str:
    """A table's key for a request's output: the prompt's id, and the request's seed if it is sampled."""
    return prompt_id if sampling.greedy else f"{prompt_id}@{sampling.seed}"


def prompt_of(key: str, provenance: Provenance) -> str:
    """The prompt's id in a table's key."""
    return key if provenance.sampling is msgspec.UNSET else key.rpartition("@")[0]


def make_table(name: str, provenance: Provenance, prompts: Mapping[str, PromptTable]) -> DecodeTable:
    """A table of these prompts. Raises BadInput, with prompt and position, for what breaks the rules."""
    if not prompts:
        raise BadInput(f"decode table {name}: holds no prompts")
    for key, one in prompts.items():
        if problem := _problem(one, provenance) or _key_problem(key, provenance):
            raise BadInput(f"decode table {name}: prompt {key!r}: {problem}; record the table again")
    return DecodeTable(name, provenance, prompts, content_hash(provenance, prompts))


def load_table(name_or_path: str) -> DecodeTable:
    """A table by name from `workloads/tables/`, or by path. Raises BadInput."""
    from testbed.tables.file import read_table

    return read_table(_path(name_or_path))


def load_provenance(name_or_path: str) -> Provenance:
    """Where a table says it comes from, without reading its rows: enough to choose one. Raises BadInput."""
    from testbed.tables.file import read_provenance

    return read_provenance(_path(name_or_path))


def _path(name_or_path: str) -> Path:
    return find(name_or_path, TABLE)


def content_hash(provenance: Provenance, prompts: Mapping[str, PromptTable]) -> str:
    """Of the values, so independent of how a parquet library lays them out."""
    encoder = msgspec.msgpack.Encoder(order="deterministic")
    digest = hashlib.sha256(encoder.encode(provenance))
    for key, one in prompts.items():
        digest.update(encoder.encode((key, one)))
    return digest.hexdigest()


def _key_problem(key: str, provenance: Provenance) -> str | None:
    if provenance.sampling is msgspec.UNSET or key.rpartition("@")[2].isdecimal():
        return None
    return "is sampled but its key names no request seed"


def _problem(one: PromptTable, provenance: Provenance) -> str | None:
    """The first broken rule in words, None if all hold."""
    count = len(one.tokens)
    if not one.prompt or not count:
        return "has no prompt tokens or no output tokens"
    if not len(one.entropies) == len(one.top2_gaps) == count:
        return f"{count} output tokens with {len(one.entropies)} entropies and {len(one.top2_gaps)} gaps"
    states = (one.top_tokens, one.top_probabilities, one.margins, one.logit_variances)
    rollouts: tuple[tuple[Ints | Floats, ...], ...] = (
        one.rollout_tokens,
        one.rollout_entropies,
        one.rollout_confidences,
    )
    if one.rollout_features is not msgspec.UNSET:
        rollouts = (*rollouts, one.rollout_features.margins, one.rollout_features.logit_variances)
    seconds = (one.second_tokens, one.second_entropies, one.second_confidences)
    if any(len(column) != count + 1 for column in (*states, *rollouts)):
        return f"{count} output tokens need {count + 1} drafter states"
    if any(len(column) != (count + 1) * provenance.second_choice for column in seconds):
        return "does not hold the rollouts from second choices that its provenance claims"
    for column in (*rollouts, *seconds):
        short = next((at for at, row in enumerate(column) if len(row) != provenance.depth), None)
        if short is not None:
            return f"position {short}: a rollout of {len(column[short])} tokens in a table of depth {provenance.depth}"
    for at, token in enumerate(one.tokens):
        if one.rollout_tokens[at][0] == token:
            for column in rollouts:
                if column[at][1:] != column[at + 1][:-1]:
                    return f"position {at}: the rollout agrees with the target but does not continue as the next one"
    return None
