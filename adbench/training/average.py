"""The moving average of a network's weights while it is trained."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Exponential moving average of a module's parameters; buffers are taken as they are.

    It starts at the weights as they are now. `torch.optim.swa_utils.AveragedModel` starts at those after the first
    step, and asks the device for its count in every step, which a GPU would be waited for.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    def update(self, module: nn.Module, step: int) -> None:
        """Average in the present weights; the decay is lower in early steps, so that the start is forgotten."""
        average = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        average(list(self.shadow.values()), [p.detach() for p in module.parameters()], step)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the average in the place of the module's weights."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.shadow[name])
