"""Random masks of clustered squares, with which networks learn to fill in parts of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.training.part import Size

PX = 240
"""Side of the image that the lengths of Liang et al. 2024 are of."""
VARIANCE = (0.3, 10.0)
"""Limits of the variance of a cluster along either side, in units of its width, squared."""
WIDTHS = ((10 / PX, 100, 200), (2.5 / PX, 5, 20))
"""Wide and narrow clusters: unit of the spread over the image's side, and limits of the number of small squares at a
spread of one unit."""
WIDE = 2 / 3
"""Part of the clusters that are wide."""
SMALL, LARGER = 4 / PX, ((8 / PX, 5, 10), (16 / PX, 3, 10))
"""Side of the small squares over that of the image; side and limits of the number of larger ones."""


def clusters(n: int, size: Size, generator: torch.Generator) -> Tensor:
    """Return float masks (n, 1, H, W) of 0 and 1: squares around a random centre each, most of them small.

    Their number grows with the spread of the cluster, its rows and columns are normal, and squares outside of the image
    are moved to its border.
    """
    centre = torch.rand(n, 2, generator=generator)
    chosen = (torch.rand(n, generator=generator) >= WIDE).long()
    deviation = (VARIANCE[0] + (VARIANCE[1] - VARIANCE[0]) * torch.rand(n, 2, generator=generator)).sqrt()
    unit, low, high = torch.tensor(WIDTHS)[chosen].T
    spread, most = deviation * unit[:, None], int(VARIANCE[1] * max(end for _, _, end in WIDTHS))
    number = deviation.prod(1) * (low + (high - low) * torch.rand(n, generator=generator))
    mask = _squares(centre, spread, number, most, SMALL, size, generator)
    for side, least, end in LARGER:
        number = torch.randint(least, end, (n,), generator=generator).float()
        mask = torch.maximum(mask, _squares(centre, spread, number, end, side, size, generator))
    return mask


def _squares(
    centre: Tensor, spread: Tensor, number: Tensor, most: int, side: float, size: Size, generator: torch.Generator
) -> Tensor:
    """Return masks of `number` (n,) squares each, at most `most`, normal around `centre` (n, 2).

    Lengths and places are over the image's side.
    """
    n = len(centre)
    places = centre[:, None] + spread[:, None] * torch.randn(n, most, 2, generator=generator)
    sides = torch.tensor(size)
    at = (places * sides).long().clamp(min=torch.zeros(2, dtype=torch.long), max=sides - 1)
    drawn = torch.arange(most) < number[:, None]
    points = torch.zeros(n, size[0] * size[1])
    points.scatter_reduce_(1, at[..., 0] * size[1] + at[..., 1], drawn.float(), "amax")
    length = max(1, round(side * min(size)))
    padded = F.pad(points.reshape(n, 1, *size), (length - 1, 0, length - 1, 0))  # a square begins at its place
    return F.max_pool2d(padded, length, stride=1)
