"""Foreign patches: where they lie in an image, and how strongly another healthy image shows there.

| code      | Tan et al. 2020; Naval Marimont et al. 2023     |
|-----------|-------------------------------------------------|
| `foreign` | the other image, x_j or x_fp                    |
| `weight`  | alpha in the patch and 0 outside; alpha_t m     |
"""

from __future__ import annotations

import torch
from torch import Tensor

from adbench.training.part import Size

CORE = 0.8
"""Part of the image, centred, that the centres of patches lie in."""
WAVES = 4
"""Waves of a shape's radius around its centre."""


def foreign(images: Tensor) -> Tensor:
    """Return the partner of each image (B, 1, H, W): the one before it in the batch, whose order is random."""
    return images.roll(1, 0)


def blended(images: Tensor, others: Tensor, weight: Tensor) -> Tensor:
    """Return (1 - weight) images + weight others."""
    return images + weight * (others - images)


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return (n, 1, 1, 1) values in [low, high)."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)


def squares(n: int, size: Size, smallest: float, largest: float, generator: torch.Generator) -> Tensor:
    """Return bool masks (n, 1, H, W) of a square each, its side between two fractions of the shorter image side.

    Squares are cut off at the border; each holds at least its centre.
    """
    down, right = distances(n, size, generator)
    half = uniform(n, smallest, largest, generator) * min(size) / 2
    inside = (down.abs() <= half) & (right.abs() <= half)
    return inside | ((down.abs() <= 0.5) & (right.abs() <= 0.5))


def shapes(
    n: int, size: Size, smallest: float, largest: float, softness_px: float, generator: torch.Generator
) -> Tensor:
    """Return masks m (n, 1, H, W) in [0, 1] of a smooth shape each, its mean radius a fraction of the shorter side.

    Around its centre the radius is multiplied by 1 + a sum of a few waves; m falls from 1 to 0 as a sigmoid of
    `softness_px` pixels.
    """
    down, right = distances(n, size, generator)
    angle, radius = torch.atan2(down, right), torch.hypot(down, right)
    limit = torch.ones_like(radius)
    for wave in range(1, WAVES + 1):
        height, phase = uniform(n, 0, 0.5 / wave, generator), uniform(n, 0, 2 * torch.pi, generator)
        limit = limit + height * torch.cos(wave * angle + phase)
    edge = uniform(n, smallest, largest, generator) * min(size) * limit.clamp(min=0.2)
    return ((edge - radius) / softness_px).sigmoid()


def distances(n: int, size: Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return rows below and columns right of a random centre, both (n, 1, H, W) after broadcasting, in pixels."""
    height, width = size
    low, high = (1 - CORE) / 2, (1 + CORE) / 2
    rows, columns = (uniform(n, low * (side - 1), high * (side - 1), generator) for side in size)
    down = torch.arange(height)[:, None] - rows
    right = torch.arange(width)[None, :] - columns
    return down, right


def shifted(images: Tensor, furthest: float, generator: torch.Generator) -> Tensor:
    """Return images (B, C, H, W), each rolled along both sides by up to `furthest` of that side, either way."""
    n, _, height, width = images.shape
    moves = [(uniform(n, -furthest, furthest, generator)[:, 0] * side).round().long() for side in (height, width)]
    rows = (torch.arange(height)[:, None] - moves[0]) % height
    columns = (torch.arange(width)[None, :] - moves[1]) % width
    return images.movedim(1, -1)[torch.arange(n)[:, None, None], rows, columns].movedim(-1, 1)
