"""Whether models run or are recorded, what they run on, and how much of the machine a node's container gets.

The `compute:` part of an experiment file. It decides how fast real passes are, never what they compute, and means
nothing in simulation.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from testbed.files.strict import SHARE, Strict, Unit

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


LIVE, RECORDED = "live", "recorded"


class NodeCompute(Strict):
    """What one node, or every node of a role, runs on."""

    renamed = {"device": "accelerator"}

    accelerator: Literal["cpu", "cuda"] = Field(default="cpu", description="where its models run")
    gpus: Annotated[int, Unit("GPUs"), Field(ge=0)] | Annotated[list[str], Field(min_length=1)] = Field(
        default=0, description="how many GPUs its container gets, or which", examples=[1, ["0", "1"]]
    )
    gpu_memory_fraction: Annotated[float, SHARE, Field(gt=0, le=1)] | None = Field(
        default=None, description="share of each GPU's memory that it may use, for nodes that share a GPU; null: all"
    )
    passes: Literal["auto", "lean", "transformers"] = Field(
        default="auto",
        description="whose code runs the forward passes: the testbed's own for the decoders it knows (auto), the "
        "testbed's own for all (lean), or that of transformers for all",
    )
    cpus: Annotated[str, AfterValidator(_cpus)] | None = Field(
        default=None, description="cores the whole container may use; null: any", examples=["0-3,6"]
    )
    memory: Annotated[str, AfterValidator(_memory)] | None = Field(
        default=None,
        description="memory limit of the container, with its unit; a node that needs more ends, and the run with it; "
        "null: no limit",
        examples=["2GiB"],
    )
    tmp: Annotated[str, AfterValidator(_memory)] | None = Field(
        default=None,
        description="size of the container's /tmp, which is in memory; null: the default of the engine",
        examples=["256MiB"],
    )

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


class Compute(Strict):
    """Where tokens come from, and beside it, by role or node, what real passes run on."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NodeCompute] = Field(init=False)

    models: Literal["live", "recorded"] = Field(
        default="live",
        description="live: the models run; recorded: an emulation takes tokens from a decode table, as a simulation "
        "does, and runs no model: devices are paced and the network is real",
    )

    @property
    def recorded(self) -> bool:
        return self.models == RECORDED

    @property
    def by_name(self) -> dict[str, NodeCompute]:
        """What was given for roles and nodes."""
        return dict(self.__pydantic_extra__ or {})
