"""The model card: everything needed to judge or repeat a training run, as `card.json` and a readable `README.md`.

Rule: no machine paths and no dates, so that the same run writes the same card (CPU times aside).
"""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

from testbed.training.corpus import Corpus
from testbed.training.options import DRAFTERS, Drafter, TrainingOptions

CARD = "card.json"
LICENCE = (
    "The weights and tokenizers are licensed like the testbed (Apache-2.0). They were trained on books in the public\n"
    "domain in the United States and on Python's sources and language reference (Python Software Foundation License)."
)


def read_card(pair: Path) -> dict[str, Any]:
    """The card of a pair folder; empty if it has none."""
    path = pair / CARD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def new_card(options: TrainingOptions, corpus: Corpus) -> dict[str, Any]:
    """The part of the card that describes the run."""
    import torch
    import transformers

    recipe = {
        key: value
        for key, value in dataclasses.asdict(options).items()
        if key not in ("text", "out", "target", "drafters", "domains", "prompts", "reuse")
    }
    return {
        "command": command_line(options),
        "recipe": {
            **recipe,
            "core": {domain.name: [domain.core_tokens, domain.share] for domain in options.domains},
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "corpus": [dataclasses.asdict(source) for source in corpus.sources],
        "models": {},
    }


def command_line(options: TrainingOptions) -> str:
    """The command that repeats the run, with TEXT and PAIR for the two folders."""
    words = ["python -m testbed.training --text TEXT --out PAIR", f"--seed {options.seed}"]
    words.append(f"--target {options.target.shape}:{options.target.tokens}")
    words.extend(f"--drafter {drafter_word(drafter)}" for drafter in options.drafters)
    words.extend(f"--prompts {path.name}" for path in options.prompts)
    return " ".join(words)


def drafter_word(drafter: Drafter) -> str:
    """`name:shape:tokens`, as the command line takes it."""
    return f"{drafter.name}:{drafter.shape}:{drafter.tokens}"


def write_card(pair: Path, card: dict[str, Any]) -> None:
    """Write both forms of the card."""
    (pair / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (pair / "README.md").write_text(_readme(card), encoding="utf-8")


def _readme(card: dict[str, Any]) -> str:
    lines = [
        f"# A small target and {len(card['models']) - 1} drafters for speculative decoding",
        "",
        "One byte-level BPE tokenizer; Llama architecture; bf16 weights, meant to be loaded into fp32. The target",
        "knows a small core text nearly by heart, so it is peaked as large models are; the drafters were distilled",
        "from its logits with KL + total variation. They serve emulation and tests: they mean nothing.",
        "",
        "| model | parameters | steps | tokens | loss, first to final | CPU s | sha256 of the weights |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, model in card["models"].items():
        trained = model["trained"]
        lines.append(
            f"| {name} ({model['shape']}) | {model['parameters']:,} | {trained['steps']:,} | {trained['tokens']:,} "
            f"| {trained['first_loss']:.2f} to {trained['final_loss']:.3f} | {trained['cpu_s']:.0f} "
            f"| `{model['sha256'][:16]}` |"
        )
    lines += ["", "Greedy acceptance (share of positions where the drafter's choice is the target's):", ""]
    lines += ["| drafter | prompts | acceptance | by domain | tokens a round, k = 1..8 | entropy AUC for rejection |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, model in card["models"].items():
        for prompts, numbers in model["measured"].items() if name != "target" else ():
            domains = ", ".join(f"{domain} {value}" for domain, value in numbers["by_domain"].items())
            rounds = ", ".join(f"{value:.2f}" for value in numbers["tokens_per_round_k1_to_8"])
            lines.append(
                f"| {name} | {prompts} ({numbers['prompts']}) | {numbers['greedy_acceptance']} | {domains} | {rounds} "
                f"| {numbers['entropy_predicts_rejection_auc']} |"
            )
    lines += ["", "Text:", "", "| source | files | characters | sha256 |", "|---|---|---|---|"]
    for source in card["corpus"]:
        counts = f"{source['files']} | {source['characters']:,}"
        lines.append(f"| {source['name']} | {counts} | `{source['sha256'][:16]}` |")
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    lines += ["", f"Made with {versions}; full hashes and settings are in `{CARD}`. To repeat:", ""]
    lines += ["```", card["command"], "```", "", LICENCE, ""]
    return "\n".join(lines)


DEFAULT_DRAFTERS = tuple(drafter_word(drafter) for drafter in DRAFTERS)
