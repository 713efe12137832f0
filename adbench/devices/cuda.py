"""NVIDIA's GPUs, and networks as CUDA graphs: small ones spend most of a pass on launching kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from adbench.devices.backend import Backend

WARMUPS = 3
"""Passes before a capture: libraries choose their algorithms and allocate in the first ones."""


class Cuda(Backend):
    """One GPU."""

    @classmethod
    def missing(cls) -> str | None:
        if torch.cuda.is_available():
            return None
        return (
            f"a CUDA device, but this PyTorch ({torch.__version__}) sees none. Use --device auto, or install a CUDA "
            "build and driver."
        )

    @classmethod
    def count(cls) -> int:
        return torch.cuda.device_count()

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.device)

    @property
    def has_bf16(self) -> bool:
        return torch.cuda.get_device_capability(self.device) >= (8, 0)

    def synchronise(self) -> None:
        torch.cuda.synchronize(self.device)

    @contextmanager
    def peak_memory(self, peak: list[int]) -> Iterator[None]:
        """Memory allocated by PyTorch."""
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            yield
        finally:
            peak.append(torch.cuda.max_memory_allocated(self.device) - before)

    def return_free_memory(self) -> None:
        torch.cuda.empty_cache()

    def current(self) -> AbstractContextManager[object]:
        return nullcontext() if self.device.index is None else torch.cuda.device(self.device)

    def captured(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        """Capture the work that `function` launches as a graph; what is returned replays it.

        Outputs are copies, so that the next call leaves them.
        """
        held = tuple(tensor.clone() for tensor in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUPS):
                function(*held)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = function(*held)

        def replay(*given: Tensor) -> Tensor:
            for own, tensor in zip(held, given, strict=True):
                own.copy_(tensor)
            graph.replay()
            return output.clone()

        return replay

    def graph_training(self, network: nn.Module, inputs: tuple[Tensor, ...], bf16: bool) -> None:
        """Make forward and backward one graph each; weights are read in place, so that an optimiser goes on."""
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16, cache_enabled=False):
            torch.cuda.make_graphed_callables(network.train(), inputs, num_warmup_iters=WARMUPS)
