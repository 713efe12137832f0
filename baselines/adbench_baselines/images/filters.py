"""Filters of maps and masks, (B, 1, H, W): Gaussian, median, guided filter, growth and erosion."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def gaussian(maps: Tensor, sigma: float) -> Tensor:
    """Smooth maps (B, 1, H, W) with a Gaussian of `sigma` pixels; the border is repeated. 0 leaves them as they are."""
    if sigma == 0:
        return maps
    from monai.networks.layers import GaussianFilter

    reach = int(4 * sigma + 1)
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    smooth: Tensor = GaussianFilter(2, sigma).to(maps.device)(padded)
    return smooth[..., reach:-reach, reach:-reach]


def grow(mask: Tensor, pixels: int) -> Tensor:
    """Dilate a bool mask (B, 1, H, W) by a square of 2 * pixels + 1."""
    if pixels == 0:
        return mask
    return F.max_pool2d(mask.float(), 2 * pixels + 1, stride=1, padding=pixels) > 0


def eroded(mask: Tensor, side: int) -> Tensor:
    """Return a bool mask (B, 1, H, W) without the pixels whose square of `side` px leaves it."""
    return F.max_pool2d((~mask).float(), side, stride=1, padding=side // 2) == 0


def median(maps: Tensor, side: int) -> Tensor:
    """Return maps (B, 1, H, W), each pixel the median of the square of `side` px around it; the border is reflected."""
    if side == 1:
        return maps
    padded = F.pad(maps, (side // 2,) * 4, mode="reflect")
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)
    return windows.flatten(-2).median(-1).values


def guided(maps: Tensor, images: Tensor, radius: int, epsilon: float = 1e-4) -> Tensor:
    """Smooth maps (B, 1, H, W) but for where the images (B, 1, H, W) have edges (He, Sun and Tang 2013, eq. 5, 6, 8).

    In every square of 2 * radius + 1 px the result is linear in the image; where the image's variance is far below
    `epsilon`, it is the mean of the map. The border is repeated.
    """

    def mean(of: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(of, (radius,) * 4, mode="replicate"), 2 * radius + 1, stride=1)

    mean_image, mean_map = mean(images), mean(maps)
    covariance = mean(images * maps) - mean_image * mean_map
    a = covariance / (mean(images * images) - mean_image.square() + epsilon)
    b = mean_map - a * mean_image
    return mean(a) * images + mean(b)
