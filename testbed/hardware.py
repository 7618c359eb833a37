"""What a node's models run on: processor or GPU, and how much of the machine its container gets.

The `compute:` part of an experiment file. It decides how fast real passes are, never what they compute, and means
nothing in simulation.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from testbed.strict import Strict

NodeChoice = Literal["auto", "docker", "process"]

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_memory(text: str) -> int:
    """Bytes of `512MiB` or `4GB`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"write an amount with its unit, such as 4GiB; units: {', '.join(_UNITS)}")
    return round(float(match[1]) * _UNITS[match[2]])


def _memory(text: str) -> str:
    parse_memory(text)
    return text


def _cpus(text: str) -> str:
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError("write cores as in 0-3,6")
    return text


class Hardware(Strict):
    """Of one node, or of every node of a role."""

    device: Literal["cpu", "cuda"] = "cpu"  # of its models
    gpus: Annotated[int, Field(ge=0)] | Annotated[list[str], Field(min_length=1)] = 0  # how many, or which
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None  # of each GPU, for nodes that share one
    # whose code runs its models' passes: our own for the decoders it knows (auto), or transformers' for all
    passes: Literal["auto", "lean", "transformers"] = "auto"
    cpus: Annotated[str, AfterValidator(_cpus)] | None = None  # cores the whole container may use; any, if not given
    memory: Annotated[str, AfterValidator(_memory)] | None = None  # a node that needs more ends, and the run with it
    tmp: Annotated[str, AfterValidator(_memory)] | None = None  # of a container's /tmp, which lies in memory

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else parse_memory(self.memory)

    @property
    def tmp_bytes(self) -> int | None:
        return None if self.tmp is None else parse_memory(self.tmp)

    @property
    def needs_container(self) -> bool:
        """Whether it asks for what only a container is given."""
        return bool(self.gpus) or any((self.cpus, self.memory, self.tmp))
