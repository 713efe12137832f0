"""What a training keeps of its way: the curve of its loss, and snapshots of its weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRIVIAL_STEPS = 200
"""A shorter training only shows that everything runs: it is not asked whether it learned anything."""
SNAPSHOTS = 8
"""Snapshots of the averaged weights that a part keeps, evenly spaced over its training (none of a trivial one)."""


def snapshot_steps(steps: int) -> set[int]:
    """The numbers of steps after which weights are kept, the last among them."""
    return {round(i * steps / SNAPSHOTS) for i in range(1, SNAPSHOTS + 1)} if steps >= TRIVIAL_STEPS else set()


class LossCurve:
    """Mean loss over each of at most `POINTS` equal stretches of the training; it never waits for the device."""

    POINTS = 256

    def __init__(self, steps: int, device: torch.device) -> None:
        self.stretch = math.ceil(steps / self.POINTS)
        points = math.ceil(steps / self.stretch)
        self.tensors = {"loss": torch.zeros(points, device=device), "steps": torch.zeros(points, device=device)}
        """Mean loss of each stretch, and how many steps it holds so far."""

    def add(self, step: int, loss: Tensor) -> None:
        at = step // self.stretch
        self.tensors["steps"][at] += 1
        self.tensors["loss"][at] += (loss.detach() - self.tensors["loss"][at]) / self.tensors["steps"][at]
