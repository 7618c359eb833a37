"""`python -m testbed.training.drafter`: a small drafter for a model that exists, from that model's own greedy answers.

One command: it asks the model first, unless its answers are there (`testbed.training.outputs`). They say which token
the model chose, so the model itself is not run while the drafter learns: on one core that is what makes it possible
beside a model of a hundred million parameters. Its embeddings begin as the directions in which the model's differ most,
for most tokens of a large vocabulary are hardly ever met.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from testbed.files.reading import read_bytes
from testbed.models.load import LoadedModel, load_model, model_hash
from testbed.models.passes import passes_of
from testbed.models.reference import target_only
from testbed.training.card import CARD
from testbed.training.distil import next_token_loss
from testbed.training.evaluate import describe_drafter
from testbed.training.optimise import Batches, Trained, new_model, optimise
from testbed.training.options import Domain, Drafter, Shape, TrainingOptions
from testbed.training.outputs import LONGEST, MOST_BYTES, TOGETHER, Output, read_outputs, write_outputs
from testbed.training.tokens import HELD_OUT, Tokens
from testbed.workload.prompts import load_prompts

ANSWERS = "answers.jsonl"
EMBEDDING_RMS = 0.05
ROWS = 4  # of 256 tokens: logits over a large vocabulary are what memory is needed for
LICENCE = "Apache-2.0, as the model whose answers it learned from"
Note = Callable[[str], None]


def make(target: str, outputs: Path, out: Path, plan: Drafter, prompts: Path, seed: int, note: Note) -> Path:
    """Train the drafter into `out`/NAME, measure it on prompts, and write a card."""
    torch.set_num_threads(1)
    loaded = load_model(target, threads=1)
    options = TrainingOptions(
        text=outputs, out=out, seed=seed, vocabulary=loaded.model.config.vocab_size,
        positions=loaded.model.config.max_position_embeddings, rows=ROWS, broad_share=0.0, drafters=(plan,),
    )  # fmt: skip
    model = begun(loaded.model, plan, options)
    note(f"{plan.name}: {model.num_parameters():,} parameters")
    batches = Batches([stream(read_outputs(outputs))], options, plan.name)
    trained = optimise(model, next_token_loss, batches, options, plan.tokens, plan.learning_rate, note)
    folder = out / plan.name
    model.to(torch.bfloat16).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # safetensors writes them for the owner only
    card = _card(loaded, target, outputs, plan, seed, trained, folder, prompts)
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return folder


def begun(target: Any, plan: Drafter, options: TrainingOptions) -> Any:
    """A drafter before its first step: special tokens are the target's, and so is what its embeddings say."""
    model = new_model(plan.shape, options, plan.name)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        for config in (model.config, model.generation_config):
            setattr(config, name, getattr(target.config, name))
    with torch.no_grad():
        table = target.get_input_embeddings().weight.double()
        _, directions = torch.linalg.eigh(table.T @ table)
        reduced = table @ directions[:, -plan.shape.width :]
        reduced *= EMBEDDING_RMS / reduced.pow(2).mean().sqrt()
        model.get_input_embeddings().weight.copy_(reduced)
    return model


def stream(outputs: Sequence[Output]) -> Tokens:
    """Questions and answers one after the other; the last few are not learned from."""
    ids = [np.array([*one.prompt, *one.answer], np.uint16) for one in outputs]
    learned = np.concatenate(ids[: max(1, round(len(ids) * (1 - HELD_OUT)))])
    return Tokens(Domain("answers", len(learned), 1.0), learned, learned, np.concatenate(ids[-1:]))


def _card(
    target: LoadedModel,
    name: str,
    outputs: Path,
    plan: Drafter,
    seed: int,
    trained: Trained,
    folder: Path,
    prompts: Path,
) -> dict[str, Any]:
    asked = [(one.domain, target.tokenizer.encode(one.text)) for one in load_prompts(str(prompts)).prompts]
    runtime = passes_of(target.model).runtime()
    references = [target_only(runtime, ids, 64, eos=target.ends) for _, ids in asked]
    drafter = load_model(str(folder)).model
    return {
        "target": name,
        "target_sha256": target.sha256,
        "outputs_sha256": hashlib.sha256(read_bytes(outputs, MOST_BYTES)).hexdigest(),
        "licence": LICENCE,
        "shape": str(plan.shape),
        "parameters": drafter.num_parameters(),
        "sha256": model_hash(str(folder)),
        "settings": {"seed": seed, "tokens": plan.tokens, "learning_rate": plan.learning_rate},
        "trained": dataclasses.asdict(trained),
        "measured": describe_drafter(drafter, {prompts.stem: asked}, {prompts.stem: references}),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m testbed.training.drafter", description=__doc__)
    parser.add_argument("--target", required=True, help="model that drafts are for")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pair")
    parser.add_argument(
        "--outputs", type=Path, help=f"its answers, as testbed.training.outputs writes them; not given: OUT/{ANSWERS}"
    )
    parser.add_argument("--answers-cpu-s", type=float, default=600.0, help="processor time to ask for them at most")
    parser.add_argument("--drafter", default="draft:160x3x4:800000", help="NAME:WIDTHxLAYERSxHEADS:TOKENS")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--prompts", type=Path, required=True, help="prompt file to measure acceptance on")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    name, shape, tokens = given.drafter.split(":")
    plan = Drafter(name, Shape.parse(shape), int(tokens), given.learning_rate)
    note = lambda line: print(line, flush=True)  # noqa: E731
    outputs = given.outputs or given.out / ANSWERS
    if not outputs.exists():
        outputs.parent.mkdir(parents=True, exist_ok=True)
        write_outputs(given.target, outputs, LONGEST, TOGETHER, given.answers_cpu_s, note)
    print(make(given.target, outputs, given.out, plan, given.prompts, given.seed, note))


if __name__ == "__main__":
    main()
