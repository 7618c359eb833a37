"""`python -m testbed.training`: train a pair from the command line the model card records."""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.training import Drafter, Shape, Target, TrainingOptions, train_pair
from testbed.training.card import DEFAULT_DRAFTERS


def main() -> None:
    """Parse the options, train, and say where the pair is."""
    parser = argparse.ArgumentParser(prog="python -m testbed.training", description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="folder with public-domain books, *.txt")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pair")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="256x5x4:2400000", help="WIDTHxLAYERSxHEADS:TOKENS")
    parser.add_argument("--drafter", action="append", help="NAME:WIDTHxLAYERSxHEADS:TOKENS; repeatable")
    parser.add_argument("--prompts", type=Path, action="append", default=[], help="prompt file to measure; repeatable")
    parser.add_argument("--reuse", action="store_true", help="keep models in OUT that were trained with these settings")
    given = parser.parse_args()
    shape, tokens = given.target.split(":")
    options = TrainingOptions(
        text=given.text,
        out=given.out,
        seed=given.seed,
        target=Target(Shape.parse(shape), int(tokens)),
        drafters=tuple(_drafter(word) for word in given.drafter or DEFAULT_DRAFTERS),
        prompts=tuple(given.prompts),
        reuse=given.reuse,
    )
    print(train_pair(options, lambda line: print(line, flush=True)))


def _drafter(word: str) -> Drafter:
    name, shape, tokens = word.split(":")
    return Drafter(name, Shape.parse(shape), int(tokens))


if __name__ == "__main__":
    main()
