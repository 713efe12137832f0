"""Networks whose work is launched at once, where the device can: CUDA graphs. Elsewhere everything runs as it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from adbench.devices.device import backend_of, precision


class Replayed:
    """A function of tensors without gradients, captured once for each precision and set of input shapes.

    It must launch the same work whatever the values are.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._captured: dict[tuple[object, ...], Callable[..., Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return function(*inputs)."""
        if torch.is_grad_enabled() or is_in_torch_dispatch_mode():  # which counts FLOPs: a replay would hide them
            return self._function(*inputs)
        device = inputs[0].device
        key = (device, precision(device), *(tensor.shape for tensor in inputs))
        if key not in self._captured:
            self._captured[key] = backend_of(device).captured(self._function, inputs)
        return self._captured[key](*inputs)


def graph_training(network: nn.Module, *inputs: Tensor) -> None:
    """Make training passes of `network` one launch each, for inputs of these shapes and the present precision.

    In evaluation mode the network runs as it is.
    """
    device = inputs[0].device
    backend_of(device).graph_training(network, inputs, precision(device) == "bf16")
