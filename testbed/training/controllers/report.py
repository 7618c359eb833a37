"""What `testbed models train-controller` does: trains, writes the weights, judges them beside plain rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from testbed.errors import BadInput
from testbed.files.whole import check_file, replacing
from testbed.policies.wisp.classifier import SUFFIX
from testbed.tables.table import DecodeTable, load_table
from testbed.training.controllers.dataset import from_rounds, split
from testbed.training.controllers.quality import Quality, quality, threshold_for
from testbed.training.controllers.train import TrainOptions, evaluate, train


@dataclass(frozen=True)
class Row:
    """One predictor on one set of prompts; `threshold` is on its own scale."""

    predictor: str
    prompts: str
    threshold: float
    false_accept_rate: float
    recall: float
    false_accept_at_high_recall: float  # at the recall that WISP's tree ensembles have
    auc: float
    tokens: int


def train_to_file(
    table_name: str,
    out: Path,
    options: TrainOptions,
    others: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Trains on a table, writes the weights to `out`, and compares on its held-back prompts and on `others`' tables."""
    if out.suffix != SUFFIX:
        raise BadInput(f"--out {out}: a controller is a {SUFFIX} file; give it that suffix")
    check_file(out)
    table = load_table(table_name)
    trained = train(table, options, progress)
    weights = trained.weights
    with replacing(out) as partial:
        partial.write_bytes(msgspec.json.encode(weights) + b"\n")
    rows = [_row(options.kind, f"{table.provenance.prompts}, held back", weights.threshold, trained.test)]
    rows += plain_rules(table, options)
    for name in others:
        other = load_table(name)
        judged = evaluate(weights, other, options.max_draft)
        rows.append(_row(options.kind, other.provenance.prompts, weights.threshold, judged))
    return rows


def plain_rules(table: DecodeTable, options: TrainOptions) -> list[Row]:
    """Confidence (SLED) and entropy (SVIP, AdaEDL) alone, with thresholds for the same recall, on the same split."""
    sides = [from_rounds(side, options.max_draft) for side in split(table, options.test_share, options.seed)]
    rows = []
    for name, column, sign in (("confidence", 0, 1.0), ("entropy", 1, -1.0)):
        seen, held_back = (sign * one.features[:, column] for one in sides)
        threshold = threshold_for(seen, sides[0].accepted, options.recall)
        where = f"{table.provenance.prompts}, held back"
        rows.append(_row(name, where, sign * threshold, quality(held_back, sides[1].accepted, threshold)))
    return rows


def _row(predictor: str, prompts: str, threshold: float, judged: Quality) -> Row:
    rates = (judged.false_accept_rate, judged.recall, judged.false_accept_at_high_recall, judged.auc)
    return Row(predictor, prompts, threshold, *rates, judged.tokens)
