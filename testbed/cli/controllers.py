"""The verbs about speculation controllers and estimates: `models train-controller`, `models fit-estimator`. Thin."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import Json
from testbed.cli.output import note, pairs, print_json, show
from testbed.cli.output import table as as_table


class Kind(StrEnum):
    mlp = "mlp"
    logistic = "logistic"


def add_to(app: typer.Typer) -> None:
    app.command("train-controller")(train_controller)
    app.command("fit-estimator")(fit_estimator)


def train_controller(
    table: Annotated[str, typer.Argument(help="Decode table of the pair, name or path.")] = "tiny-prose",
    out: Annotated[Path, typer.Option("--out", help="File for the weights (*.json).")] = Path("controller.json"),
    kind: Annotated[Kind, typer.Option("--kind", help="A three-layer network or logistic regression.")] = Kind.mlp,
    seed: Annotated[int, typer.Option("--seed", help="Seed for the split by prompt and the initial weights.")] = 0,
    recall: Annotated[
        float,
        typer.Option(
            "--recall", min=0.01, max=1.0, help="Share of accepted tokens that must be predicted as accepted."
        ),
    ] = 0.80,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0.01, max=0.99, help="Share of the prompts held out for testing.")
    ] = 0.3,
    max_draft: Annotated[int, typer.Option("--max-draft", min=1, max=32, help="Longest draft, in tokens.")] = 16,
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Another table to evaluate on: other prompts, same pair.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train WISP's rejection predictor for a model pair.

    It learns from a decode table; its quality on held-out prompts is shown.
    """
    from testbed.training.controllers.report import train_to_file
    from testbed.training.controllers.train import TrainOptions

    options = TrainOptions(kind.value, seed, recall, test_share, max_draft)
    rows = [asdict(row) for row in train_to_file(table, out, options, test or [], note)]
    if as_json:
        print_json({"file": str(out), "predictors": rows})
    else:
        show(as_table(f"{out}: predictors of accepted tokens, {table}", rows))


def fit_estimator(
    device: Annotated[str, typer.Argument(help="Device profile, or 'this-machine' to time real forward passes.")],
    model: Annotated[str, typer.Option("--model", help="Model to time on this machine.")] = "tiny-target",
    seed: Annotated[int, typer.Option("--seed", help="Seed for the choice of configurations.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit WISP's four-term estimate of a verification pass.

    It is fitted to 123 configurations and tested on 50 others.
    """
    from testbed.training.estimation import THIS_MACHINE, estimate_machine, estimate_profile

    fitted = estimate_machine(model, seed, note) if device == THIS_MACHINE else estimate_profile(device, seed)
    if as_json:
        print_json(asdict(fitted))
    else:
        show(pairs(f"four-term estimate, {device}", asdict(fitted)))
