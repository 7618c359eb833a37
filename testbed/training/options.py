"""What a training run may vary, with the shipped pair's values as defaults. Data only; imports no torch.

Each default is the measured recipe: a target that knows a small core text nearly by heart is peaked, as large models
are, and a drafter's width then sets acceptance smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import BadInput

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    """A Llama-style network: hidden width, number of layers, attention heads."""

    width: int
    layers: int
    heads: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read `256x5x4` (width, layers, heads)."""
        parts = text.split("x")
        if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise BadInput(f"model shape {text!r}: write WIDTHxLAYERSxHEADS, for example 256x5x4")
        shape = cls(*(int(part) for part in parts))
        if shape.width % (2 * shape.heads):
            raise BadInput(f"model shape {text!r}: the width must be a multiple of twice the heads (rotary positions)")
        return shape

    def __str__(self) -> str:
        return f"{self.width}x{self.layers}x{self.heads}"


@dataclass(frozen=True)
class Target:
    """The verifying model and its budget."""

    shape: Shape = Shape(256, 5, 4)
    tokens: int = 2_400_000
    learning_rate: float = 5e-3


@dataclass(frozen=True)
class Drafter:
    """A drafting model, distilled from the target; `name` is its folder in the pair."""

    name: str
    shape: Shape
    tokens: int = 1_300_000
    learning_rate: float = 6e-3
    total_variation: float = 4.0  # weight of TV beside KL; 1 - TV is the acceptance probability of speculative sampling


@dataclass(frozen=True)
class Domain:
    """One kind of text: how many tokens of it form the core, and its share of the training rows."""

    name: str
    core_tokens: int
    share: float


DOMAINS = (
    Domain("story", 26_000, 0.45),
    Domain("drama", 6_000, 0.10),
    Domain("code", 16_000, 0.30),
    Domain("docs", 8_000, 0.15),
)

DRAFTERS = (
    Drafter("draft", Shape(160, 2, 2)),
    Drafter("draft-small", Shape(64, 1, 1)),
)


@dataclass(frozen=True)
class TrainingOptions:
    """One reproducible training run. `text` holds the books as *.txt; `out` becomes the pair's folder."""

    text: Path
    out: Path
    seed: int = 0
    target: Target = Target()
    drafters: tuple[Drafter, ...] = DRAFTERS
    domains: tuple[Domain, ...] = DOMAINS
    python_text: bool = True  # add this Python's own library sources (code) and language reference (docs)
    core_book: str = "wizard_of_oz.txt"  # the story core is the beginning of this book
    drama_book: str = "tinyshakespeare.txt"
    vocabulary: int = 2048
    positions: int = 2048
    broad_share: float = 0.25  # rows drawn from outside the core, so that the target stays sane elsewhere
    rows: int = 8
    row_tokens: int = 256
    precision: str = "bf16"  # arithmetic of the training passes (autocast); weights and optimiser state stay fp32
    threads: int = 1
    reuse: bool = False  # keep the models in `out` that were trained with the same shape, seed and settings
    windows: int = 80  # evaluation prompts of 64 tokens from core text, and half as many from held-out text
    generate: int = 100  # evaluation tokens after each prompt
    prompts: tuple[Path, ...] = field(default=())  # prompt files to measure acceptance on, beside the windows

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise BadInput(f"precision {self.precision!r}: choose bf16 or fp32")
        if not 0 <= self.broad_share <= 1:
            raise BadInput(f"broad share {self.broad_share}: choose a number from 0 to 1")
        names = [drafter.name for drafter in self.drafters]
        if len(set(names)) != len(names) or "target" in names:
            raise BadInput(f"drafter names {names}: each must be different, and none may be 'target'")
