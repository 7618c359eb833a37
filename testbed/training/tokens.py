"""Train the byte-level BPE tokenizer and cut each domain's tokens into core, broad and held-out text.

Rule: training never sees held-out tokens; an end-of-text token opens every document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.training.corpus import Corpus
from testbed.training.options import END_OF_TEXT, Domain, TrainingOptions

Ids = npt.NDArray[np.uint16]
HELD_OUT = 0.03


@dataclass(frozen=True)
class Tokens:
    """One domain's token ids: the core the target learns by heart, broad text seen rarely, and text never seen."""

    domain: Domain
    core: Ids
    broad: Ids
    held_out: Ids


def train_tokenizer(corpus: Corpus, vocabulary: int) -> Any:
    """A byte-level BPE tokenizer (any bytes round-trip) whose id 0 is the end of text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        show_progress=False,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator((text for texts in corpus.documents.values() for text in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def cut(corpus: Corpus, tokenizer: Any, options: TrainingOptions) -> list[Tokens]:
    """The token streams of every domain that the corpus has, in the options' order."""
    streams = []
    for domain in options.domains:
        documents = corpus.documents.get(domain.name)
        if not documents:
            continue
        encoded = tokenizer.backend_tokenizer.encode_batch(documents)
        ids = np.concatenate([np.array([0, *document.ids], np.uint16) for document in encoded])
        end = int(len(ids) * (1 - HELD_OUT))
        core_end = min(domain.core_tokens, end // 2)
        streams.append(Tokens(domain, ids[:core_end], ids[core_end:end], ids[end:]))
    return streams
