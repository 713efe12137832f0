"""Gaussian smoothing and growth of masks on tensors (B, 1, H, W)."""

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
