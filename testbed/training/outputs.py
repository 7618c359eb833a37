"""`python -m testbed.training.outputs`: a model's greedy answers to questions, for a drafter to learn from.

Answers are tokens, as the model chose them, so that nothing changes on the way through text. Many are decoded at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from testbed.files.reading import decode_json, read_text
from testbed.models.feeds import BatchFeed
from testbed.models.load import load_model
from testbed.models.passes import passes_of
from testbed.training.questions import training_questions

MOST_BYTES = 1 << 28
LONGEST = 80  # tokens of an answer
TOGETHER = 96  # answers decoded at once


class Output(msgspec.Struct, frozen=True):
    """One question and its answer."""

    prompt: list[int]
    answer: list[int]


def read_outputs(path: Path) -> list[Output]:
    """A file that this module wrote. Raises BadInput."""
    lines = read_text(path, MOST_BYTES).splitlines()
    return [decode_json(text, path, Output, line=number) for number, text in enumerate(lines, 1)]


def answers(
    runtime: Any, prompts: Sequence[Sequence[int]], most: int, ends: Sequence[int], together: int
) -> Iterator[Output]:
    """Greedy answers of up to `most` tokens, `together` at a time; as each is finished, another begins."""
    waiting = list(enumerate(prompts))[::-1]
    answered: dict[int, list[int]] = {}
    feeds: dict[int, tuple[int, Sequence[int]]] = {}
    while waiting or feeds:
        while waiting and len(feeds) < together:
            number, prompt = waiting.pop()
            answered[number], feeds[number] = [], (0, prompt)
        batch = [BatchFeed(number, position, tokens) for number, (position, tokens) in feeds.items()]
        for one, logits in zip(batch, runtime.forward_batch(batch), strict=True):
            token = int(logits[0].argmax())
            answered[one.request].append(token)
            feeds[one.request] = (one.position + len(one.tokens), [token])
            if token in ends or len(answered[one.request]) == most:
                del feeds[one.request]
                runtime.release(one.request)
                yield Output(list(prompts[one.request]), answered.pop(one.request))


def write_outputs(
    model: str, out: Path, most: int, together: int, limit_s: float, progress: Callable[[str], None]
) -> int:
    """Answers to the questions in their order, until all are answered or the processor time is spent; tokens said."""
    loaded = load_model(model, threads=1)
    tokenizer, ends = loaded.tokenizer, loaded.ends
    runtime = passes_of(loaded.model).runtime()
    del loaded
    prompts = [tokenizer.encode(text) for text in training_questions()]
    begin, tokens = time.process_time(), 0
    with out.open("xb") as file:
        for count, one in enumerate(answers(runtime, prompts, most, ends, together), 1):
            file.write(msgspec.json.encode(one) + b"\n")
            tokens += len(one.answer)
            spent = time.process_time() - begin
            if count % 50 == 0:
                file.flush()
                progress(f"{count} of {len(prompts)} answers, {tokens} tokens, {spent:.0f} s of CPU")
            if spent > limit_s:
                break
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m testbed.training.outputs", description=__doc__)
    parser.add_argument("--model", required=True, help="whose answers")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .jsonl")
    parser.add_argument("--tokens", type=int, default=LONGEST, help="of an answer at most")
    parser.add_argument("--together", type=int, default=TOGETHER, help="answers decoded at once")
    parser.add_argument("--cpu-s", type=float, default=1200.0, help="processor time to spend at most")
    given = parser.parse_args()
    progress = lambda line: print(line, flush=True)  # noqa: E731
    write_outputs(given.model, given.out, given.tokens, given.together, given.cpu_s, progress)


if __name__ == "__main__":
    main()
