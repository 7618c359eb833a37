"""How many threads one pass may use: of torch, and of the BLAS library that numpy brings."""

from __future__ import annotations


def use_threads(count: int) -> None:
    """For the whole process, from now on."""
    import torch

    torch.set_num_threads(count)
    use_blas_threads(count)


def use_blas_threads(count: int) -> None:
    """The same for a process that has no torch."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=count, user_api="blas")
