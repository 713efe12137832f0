"""Training images slightly moved, so that a network sees no image twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.training.part import Draw, Source


def augmented(config: Any) -> Callable[[Any, Source], Draw]:
    """How a part draws its batches: `batch_size` random images, each moved with the probability `augmentation`."""

    def batches(net: Any, source: Source) -> Draw:
        return lambda generator: augment(source.images(config.batch_size, generator), config.augmentation, generator)

    return batches


def augment(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Turn by up to 5 degrees, shift by up to 1 px and scale by up to 1 %, each image with `probability`.

    The border is repeated, since the background of CT slices is not 0.
    """
    n, _, height, width = images.shape

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(n, generator=generator) - 1) * limit

    used = torch.rand(n, generator=generator) < probability
    angle, scale = uniform(torch.pi / 36), 1 + uniform(0.01)
    shift = torch.stack([uniform(2 / width), uniform(2 / height)], dim=1)  # 1 px in units of [-1, 1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    theta = torch.cat([theta, shift[..., None]], 2).to(images.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    changed = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return torch.where(used[:, None, None, None].to(images.device), changed, images)
