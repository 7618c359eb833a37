"""The Docker specification of one node's container: a pure function, so that it can be tested without Docker.

A node has no network of the engine's (`none`), so nothing but the experiment's link reaches it; a read-only root, no
capability, no way to gain one. Its models are mounted read-only where they lie, their weights as passes read them at
/packs, its exchange folder at /node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from testbed.containers.images import Image

RUN_LABEL = "org.wan-testbed.run"
NODE_LABEL = "org.wan-testbed.node"
EXCHANGE = "/node"
SOCKET = f"{EXCHANGE}/control.sock"
PACKS = "/packs"  # weights as nodes read them: in a private folder here, and files alone can be read inside
CLOCK = "/clock"  # the page of the run's clock
PIDS = 256  # a node program, its model worker and their threads; a program gone wild must not take the machine
# by name, so that neither an image's environment nor another maker's GPU decides: CUDA, and nvidia-smi with its library
GPU_CAPABILITIES = ("gpu", "compute", "utility")
TMP_BYTES = 256 * 2**20  # of /tmp, which counts as the container's memory
MEMORY_BYTES = 4 * 2**30  # of a container that has none given: Python, PyTorch and its /tmp, and with them its models
WEIGHTS_TIMES = 4  # over their files: bfloat16 becomes float32, and both are there while it is loaded
FILE_BYTES = 2 * 2**30  # the largest file it may write; a log is less
LOG_BYTES = 8 * 1024 * 1024  # what the engine keeps of a node's output


class Limits(NamedTuple):
    """What of the machine one container gets. None: `cpus` any, `memory_bytes` and `tmp_bytes` as below."""

    gpus: int | Sequence[str] = 0  # how many, or which
    cpus: str | None = None  # cores, as in 0-3,6
    memory_bytes: int | None = None
    tmp_bytes: int | None = None


@dataclass(frozen=True)
class Wanted:
    """One container to be made."""

    run_id: str
    node: str
    image: Image
    exchange: Path
    mounts: tuple[Path, ...] = ()
    packs: tuple[Path, ...] = ()
    working_dir: Path = Path("/")
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict)
    clock: Path | None = None  # the page of the run's clock
    weights_bytes: int = 0  # of the files of all models that are mounted

    @property
    def name(self) -> str:
        return container_name(self.run_id, self.node)


def container_name(run_id: str, node: str) -> str:
    return f"wan-testbed-{run_id}-{node}"


def host_config(wanted: Wanted) -> dict[str, Any]:
    """HostConfig of the engine's API."""
    limits = wanted.limits
    config: dict[str, Any] = {
        "NetworkMode": "none",
        "Init": True,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={limits.tmp_bytes or TMP_BYTES}"},
        "Ulimits": [{"Name": name, "Soft": most, "Hard": most} for name, most in (("fsize", FILE_BYTES), ("core", 0))],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": PIDS,
        "Mounts": [
            _bind(wanted.exchange, EXCHANGE, writable=True),
            *_read_only(wanted.mounts),
            *_packs(wanted.packs),
            *_clock(wanted),
        ],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(LOG_BYTES), "max-file": "1"}},
    }
    if limits.cpus is not None:
        config["CpusetCpus"] = limits.cpus
    memory = limits.memory_bytes or MEMORY_BYTES + WEIGHTS_TIMES * wanted.weights_bytes
    config["Memory"] = config["MemorySwap"] = memory  # swap would hide that a node does not fit
    if limits.gpus:
        config["DeviceRequests"] = [_devices(limits.gpus)]
    return config


def container_config(wanted: Wanted) -> dict[str, Any]:
    """The rest of the body of the engine's API: POST /containers/create."""
    return {
        "Image": wanted.image.digest,
        "Cmd": [SOCKET],
        "NetworkDisabled": True,  # with "none" alone the engine runs a copy of itself per container, to attach nothing
        "Hostname": wanted.node,
        "WorkingDir": str(wanted.working_dir),
        "Labels": {RUN_LABEL: wanted.run_id, NODE_LABEL: wanted.node},
        "Env": [f"{name}={value}" for name, value in wanted.environment.items()],
        "Healthcheck": {"Test": ["NONE"]},  # a program started again and again would disturb what is measured
        "HostConfig": host_config(wanted),
    }


def _clock(wanted: Wanted) -> list[dict[str, Any]]:
    return [] if wanted.clock is None else [_bind(wanted.clock, CLOCK, writable=True)]


def _devices(gpus: int | Sequence[str]) -> dict[str, Any]:
    chosen = {"Count": gpus} if isinstance(gpus, int) else {"DeviceIDs": list(gpus)}
    return {"Driver": "", "Capabilities": [list(GPU_CAPABILITIES)], "Options": {}, **chosen}


def _read_only(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Each once; what lies inside another mounted folder is there already."""
    chosen = sorted(set(paths))
    outer = [one for one in chosen if not any(one != other and one.is_relative_to(other) for other in chosen)]
    return [_bind(path, str(path), writable=False) for path in outer]


def pack_inside(path: Path) -> str:
    """Where a container sees a pack."""
    return f"{PACKS}/{path.name}"


def _packs(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [_bind(path, pack_inside(path), writable=False) for path in sorted(set(paths))]


def _bind(source: Path, target: str, writable: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": not writable}
