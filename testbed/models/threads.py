"""How many threads one pass may use: of torch, and of the BLAS library that numpy brings."""

from __future__ import annotations


def use_threads(count: int) -> None:
    """For the whole process, from now on."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(limits=count, user_api="blas")
