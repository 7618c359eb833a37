"""What holds of the models' code on a GPU and can be shown without one.

The code runs on PyTorch's fake tensors, which have a shape, a type and a device, and no values. The device is another
than the processor, and an operation on tensors of two devices is refused as a GPU refuses it: a tensor that was made
without its device would end these tests. Every copy between the devices is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from testbed.errors import MachineCannot
from testbed.models.batch import BatchRuntime
from testbed.models.feeds import BatchFeed, TreeFeed
from testbed.models.guard import Guard
from testbed.models.placement import exact_fp32, plain_words

AWAY = torch.device("lazy", 0)  # PyTorch's name of a device that every build knows, and none computes on


class Crossings(TorchDispatchMode):
    """Notes the copies between devices, as (from, to, numbers)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if args and isinstance(result, torch.Tensor) and isinstance(args[0], torch.Tensor):
            ways = args[0].device.type, result.device.type
            if ways[0] != ways[1] and result.numel():
                self.seen.append((*ways, result.numel()))
        return result

    def back(self) -> list[int]:
        """Numbers in each copy that came back from the GPU: for each, the processor waits."""
        return [numbers for source, target, numbers in self.seen if (source, target) == (AWAY.type, "cpu")]

    def out(self) -> int:
        return sum((source, target) == ("cpu", AWAY.type) for source, target, _ in self.seen)


class Nowhere(FakeTensorMode):
    """No tensor has values, on machines with a GPU neither."""

    avoid_device_init = True


@contextmanager
def away(family: Any, layers: int = 2) -> Iterator[BatchRuntime]:
    """A model whose every weight lies there; what runs in this context makes fake tensors."""
    model = family(1, layers)
    with pytest.MonkeyPatch.context() as patch, Nowhere():
        patch.setattr(Guard, "numbers", lambda guard, logits: None)  # looks at values, here and not there
        patch.setattr(fake_tensor, "CONSTANT_NUMEL_LIMIT", -1)  # else single values are computed, on the device itself
        for module in model.modules():
            for held in (module._parameters, module._buffers):
                for name, one in held.items():
                    held[name] = None if one is None else torch.empty(one.shape, dtype=one.dtype, device=AWAY)
        yield BatchRuntime(model)


@pytest.fixture
def runtime(family: Any) -> Iterator[BatchRuntime]:
    with away(family) as runtime:
        yield runtime


def alone(runtime: BatchRuntime) -> None:
    """A prompt, drafts after it, a rewind."""
    runtime.forward(0, 0, list(range(1, 20)))
    for position in range(19, 23):
        runtime.forward(0, position, [5])
    runtime.forward(0, 20, [6, 7, 8], last=3)


def tree(runtime: BatchRuntime) -> None:
    runtime.forward(0, 0, list(range(1, 20)))
    runtime.forward_tree(TreeFeed(0, 19, [3, 4], [5, 6, 7], [-1, -1, 0], [-1, 0, 2]))


def together(runtime: BatchRuntime) -> None:
    """Ragged, in order and not, rows that grow, a cache that moves in, one that moves out again."""
    runtime.forward(4, 0, list(range(1, 20)))
    runtime.forward_batch([BatchFeed(request, 0, [1] * (request + 1), request) for request in range(4)])
    runtime.forward_batch([BatchFeed(3, 4, [5, 6], 2), BatchFeed(1, 2, [7]), BatchFeed(4, 19, [8])])
    runtime.forward_batch([BatchFeed(request, 0, [1, 2], 0) for request in range(20, 30)])
    runtime.forward_tree(TreeFeed(3, 6, [3], [5, 6], [-1, -1], [0, 1]))


@pytest.mark.parametrize("work", [alone, tree, together])
def test_no_tensor_stays_behind_on_the_processor(runtime: BatchRuntime, work: Any) -> None:
    work(runtime)


def test_a_tensor_made_without_its_device_would_be_noticed(
    runtime: BatchRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    arange = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *args, device=None, **kwargs: arange(*args, **kwargs))
    with pytest.raises(RuntimeError, match="devices"):
        runtime.forward(0, 0, [1, 2, 3])


def passes(runtime: BatchRuntime) -> Iterator[tuple[str, Any]]:
    """A pass of each kind, once caches are there; each returns its logits."""
    together(runtime)
    yield "one", lambda: runtime.forward(4, 5, [1, 2], last=2)
    yield "tree", lambda: runtime.forward_tree(TreeFeed(5, 0, [3, 4], [5, 6, 7], [-1, -1, 0], [-1, 0, 2]))
    yield "batch", lambda: runtime.forward_batch([BatchFeed(2, 2, [5, 6], 2), BatchFeed(0, 1, [7])])
    yield "prefills", lambda: runtime.forward_batch([BatchFeed(1, 2, [5, 6], 0), BatchFeed(0, 1, [7], 0)])


def test_a_pass_waits_for_the_gpu_once_and_has_then_ended(runtime: BatchRuntime) -> None:
    """Logits come back, one copy of them, even where none is wanted; else the clock would be read too early."""
    for kind, run in passes(runtime):
        with Crossings() as crossings:
            logits = run()
        assert len(crossings.back()) == 1, kind
        assert crossings.back()[0] >= runtime.model.config.vocab_size, kind
        assert all(one.device.type == "cpu" for one in (logits if isinstance(logits, list) else [logits])), kind


@pytest.mark.slow
def test_what_goes_to_the_gpu_does_not_grow_with_the_layers(family: Any) -> None:
    """Tokens, positions, where they are kept: once a pass."""
    counted: list[dict[str, int]] = []
    for layers in (2, 5):
        counted.append({})
        with away(family, layers) as runtime:
            for kind, run in passes(runtime):
                with Crossings() as crossings:
                    run()
                counted[-1][kind] = crossings.out()
    assert counted[0] == counted[1]
    assert all(counted[0].values())


def test_fp32_is_fp32_wherever_pytorch_has_a_switch() -> None:
    torch.set_float32_matmul_precision("high")  # as a policy's code might have done
    exact_fp32()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee"), "gpu_memory_fraction"),
        (torch.AcceleratorError("CUDA error: no kernel image is available\nCompile with"), "nvidia-smi"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "nvidia-smi"),
    ],
)
def test_what_a_gpu_refuses_is_said_in_one_line(error: RuntimeError, said: str) -> None:
    with pytest.raises(MachineCannot, match=f"^accelerator cuda: CUDA .*{said}") as raised, plain_words("cuda"):
        raise error
    assert "\n" not in str(raised.value)


def test_an_error_of_the_code_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), plain_words("cuda"):
        raise RuntimeError("shapes do not match")
