"""Mean and standard deviation of what is computed of all healthy images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adbench.contracts.detector import Images, Progress

BATCH = 256


def moments(healthy: Images, of: Callable[[Tensor], Tensor], what: str, progress: Progress) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over all images of what `of` gives of a batch, (1, ...) float32 on the CPU.

    The sums are in float64: of values of the size of 1 their rounding stays far below float32's for any number of
    images. `what` names them where progress is said.
    """
    total = squares = torch.zeros(1, dtype=torch.float64)
    batches = healthy.batches(BATCH)
    for i, batch in enumerate(batches):
        values = of(batch).double().cpu()
        total = total + values.sum(0, keepdim=True)
        squares = squares + values.square().sum(0, keepdim=True)
        progress(what, i + 1, len(batches))
    mean = total / len(healthy)
    variance = (squares / len(healthy) - mean.square()).clamp(min=0)  # rounding may leave it just below 0
    return mean.float(), variance.sqrt().float()
