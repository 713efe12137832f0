"""Networks as CUDA graphs: small ones spend most of a pass on launching kernels, and a graph is launched at once.

On other devices everything runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from adbench.devices.device import has_bf16

WARMUPS = 3
"""Passes before a capture: libraries choose their algorithms and allocate in the first ones."""


class Replayed:
    """A function of tensors without gradients, captured once for each set of input shapes.

    It must launch the same work whatever the values are. Outputs are copies, so that the next call leaves them.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._captured: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return function(*inputs)."""
        plain = inputs[0].device.type != "cuda" or torch.is_grad_enabled() or is_in_torch_dispatch_mode()
        if plain:  # a dispatch mode counts FLOPs, which a replay would hide
            return self._function(*inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._captured:
            self._captured[shapes] = self._capture(inputs)
        graph, held, output = self._captured[shapes]
        for own, given in zip(held, inputs, strict=True):
            own.copy_(given)
        graph.replay()
        return output.clone()

    def _capture(self, inputs: tuple[Tensor, ...]) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]:
        held = tuple(tensor.clone() for tensor in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUPS):
                self._function(*held)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._function(*held)
        return graph, held, output


def graph_training(network: nn.Module, *inputs: Tensor) -> None:
    """Make forward and backward of `network` in training mode one CUDA graph each, for inputs of these shapes.

    Weights are read in place, so that an optimiser goes on as before; in evaluation mode the network runs as it is.
    """
    if inputs[0].device.type != "cuda":
        return
    device = inputs[0].device
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device), cache_enabled=False):
        torch.cuda.make_graphed_callables(network.train(), inputs, num_warmup_iters=WARMUPS)
