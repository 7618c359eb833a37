"""Where a model runs: checks that the GPU asked for is there, and keeps to a share of it that others use as well.

Rule: fp32 on a GPU is fp32. TF32 is off, so that the outputs stay those of the reference up to fp32's own rounding.
"""

from __future__ import annotations

from testbed.errors import MachineCannot

CPU = "cpu"
NO_CUDA = "this PyTorch is built without CUDA; TORCH=cuda ./setup.sh, and for containers: testbed images build"
NO_GPU = "PyTorch finds no GPU; nvidia-smi says what the driver sees, and a container needs gpus under compute:"


def prepare(device: str, memory_fraction: float | None = None) -> None:
    """To be called once, before a model is put on `device`. Raises MachineCannot when it is not there."""
    if device == CPU:
        return
    import torch

    if torch.version.cuda is None:
        raise MachineCannot(f"device {device}: {NO_CUDA}")
    if not torch.cuda.is_available():
        raise MachineCannot(f"device {device}: {NO_GPU}")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(memory_fraction)
