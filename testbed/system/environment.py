"""The environment that the testbed's own programs get: what makes them run, and nothing of the caller's secrets.

A list of what may pass, for no list of secrets is complete: tokens of the model hub, of clouds and of CI stay with the
engine, which fetches models before any node is started.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE", "TORCH_HOME", "MPLCONFIGDIR", "DISPLAY", "XAUTHORITY",
})  # fmt: skip
# settings of the interpreter, of numerical libraries and of GPU drivers
PREFIXES = (
    *("LC_", "PYTHON", "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "TORCHINDUCTOR_", "TORCH_", "PYTORCH_"),
    *("CUDA_", "NVIDIA_", "TRITON_", "MALLOC_", "GLIBC_", "ORT_"),
)
SECRET_WORDS = ("TOKEN", "SECRET", "PASSW", "CREDENTIAL", "_KEY", "APIKEY", "AUTH")
OF_NODES = {
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",  # models are here before a node starts, and a node has no way to the hub
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}


def of_programs(caller: Mapping[str, str]) -> dict[str, str]:
    """For shapers, probes and whatever else a run starts."""
    return {name: value for name, value in caller.items() if _passes(name)}


def of_nodes(caller: Mapping[str, str]) -> dict[str, str]:
    """For node programs and model workers."""
    return {**of_programs(caller), **OF_NODES}


def _passes(name: str) -> bool:
    return name in NAMES or (name.startswith(PREFIXES) and not any(word in name for word in SECRET_WORDS))
