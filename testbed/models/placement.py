"""Where a model runs: checks that the requested GPU exists, limits its memory, and reports GPU errors in one line.

Rule: fp32 on a GPU is fp32. TF32 is off, so that the outputs stay those of the reference up to fp32's own rounding.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import MachineCannot

CPU = "cpu"
NO_CUDA = "this PyTorch is built without CUDA; TORCH=cuda ./setup.sh, and for containers: testbed images build"
NO_GPU = "PyTorch finds no GPU; nvidia-smi shows what the driver sees, and a container needs gpus under compute:"
MORE_MEMORY = "choose a smaller model, raise gpu_memory_fraction, or put fewer nodes on one GPU"
NVIDIA_SMI = "see nvidia-smi"
DRIVER = Path("/sys/module/nvidia/version")  # of the kernel module, and so of the driver


def prepare(device: str, memory_fraction: float | None = None) -> None:
    """To be called once, before a model is put on `device`. Raises MachineCannot when it is not there."""
    if device == CPU:
        return
    import torch

    if torch.version.cuda is None:
        raise MachineCannot(f"accelerator {device}: {NO_CUDA}")
    if not torch.cuda.is_available():
        raise MachineCannot(f"accelerator {device}: {NO_GPU}")
    exact_fp32()
    if memory_fraction is not None:
        with plain_words(device):  # the first call that needs the driver to answer
            torch.cuda.set_per_process_memory_fraction(memory_fraction)


def exact_fp32() -> None:
    """TF32 off: in matrix products, and in convolutions and RNNs, where it is on by default.

    The flag of matrix products alone (`allow_tf32`) may contradict the precision that other code has set, and PyTorch
    then raises when asked which holds.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def plain_words(device: str) -> Iterator[None]:
    """What a GPU refuses, in one line: MachineCannot. PyTorch adds pages of advice to it, or nothing but the number."""
    try:
        yield
    # of memory, of the driver (AcceleratorError) or of a library on it, such as cuBLAS; by name, for a worker without
    # torch has no such classes
    except RuntimeError as error:
        if "CUDA" not in str(error):
            raise
        advice = MORE_MEMORY if type(error).__name__ == "OutOfMemoryError" else NVIDIA_SMI
        raise MachineCannot(f"accelerator {device}: {_first_line(error)}; {advice}") from error


def described(device: str, threads: int) -> str:
    """The hardware that computed, to interpret the times; for a GPU also the driver and the libraries."""
    if device == CPU:
        return f"{platform.machine()} processor, {threads} thread(s)"
    import torch

    name = torch.cuda.get_device_name(torch.device(device))
    driver = DRIVER.read_text().strip() if DRIVER.exists() else "unknown"
    return f"{name}, driver {driver}, CUDA {torch.version.cuda}, PyTorch {torch.__version__}"


def _first_line(error: RuntimeError) -> str:
    """Its first sentence, without the advice that follows: one line however PyTorch breaks it."""
    return str(error).strip().partition("\n")[0].rstrip(". ")
