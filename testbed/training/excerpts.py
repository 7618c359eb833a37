"""Prompts from the core of the training text: places where the shipped target is as certain as a large model is.

`python -m testbed.training.excerpts --text BOOKS --out prose.jsonl` makes the shipped set again. The core book
is in the public domain, so its sentences may ship. Rule: chosen by position alone, evenly over the core, without asking
any model.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from testbed.errors import BadInput
from testbed.models.load import load_tokenizer
from testbed.training.corpus import read_corpus
from testbed.training.options import TrainingOptions

FRONT_MATTER_TOKENS = 1_000  # title, contents and preface of the core book
SENTENCE_START = re.compile(r"(?<=[.!?]\s)(?=[A-Z\"])|(?<=\n)(?=\S)")


def excerpts(
    text: str, core_tokens: int, count: int, length: int, encode: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """`count` excerpts of about `length` tokens, each from the first sentence start after an evenly spaced place.

    `encode` gives a text's token offsets, as a fast tokenizer does. Raises BadInput when the text is too short.
    """
    offsets = encode(text)["offset_mapping"][FRONT_MATTER_TOKENS:core_tokens]
    if len(offsets) < count * 2 * length:
        raise BadInput(f"{len(offsets)} tokens are too few for {count} excerpts of {length} tokens")
    starts = [match.start() for match in SENTENCE_START.finditer(text)]
    first_token = {begin: index for index, (begin, end) in enumerate(offsets) if end > begin}
    chosen: list[str] = []
    stride = (len(offsets) - 2 * length) // count
    for number in range(count):
        place = offsets[number * stride + length][0]
        # the token at a sentence start begins at its first letter, or at the space before it
        index = next(
            found
            for start in starts
            if start >= place and (found := first_token.get(start, first_token.get(start - 1))) is not None
        )
        chosen.append(text[offsets[index][0] : offsets[index + length - 1][1]].strip())
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m testbed.training.excerpts", description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="folder with the training books")
    parser.add_argument("--out", type=Path, required=True, help="prompt file to write")
    parser.add_argument("--model", default="tiny-target", help="whose tokens are counted")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--length", type=int, default=64, help="tokens a prompt")
    given = parser.parse_args()
    options = TrainingOptions(text=given.text, out=given.out)
    story = next(domain for domain in options.domains if domain.name == "story")
    text = read_corpus(options).documents["story"][0]
    tokenizer = load_tokenizer(given.model)

    def encode(whole: str) -> Mapping[str, Any]:
        return tokenizer(  # type: ignore[no-any-return]
            whole, return_offsets_mapping=True, add_special_tokens=False
        )

    found = excerpts(text, story.core_tokens, given.count, given.length, encode)
    lines = [
        msgspec.json.encode({"id": f"prose-{number + 1:02}", "domain": "story", "text": one})
        for number, one in enumerate(found)
    ]
    given.out.write_bytes(b"\n".join(lines) + b"\n")


if __name__ == "__main__":
    main()
