"""Structural similarity of images or features, at every place (Wang et al. 2004)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def ssim_map(x: Tensor, y: Tensor, side: int, sigma: float) -> Tensor:
    """Return the SSIM of x and y (B, C, H, W), each channel by itself, with values of the range 1.

    Windows are Gaussians of `sigma`, cut to `side` pixels, odd; the border is reflected. Between -1 and 1 where
    variances are not negative by rounding.
    """
    from monai.metrics.regression import compute_ssim_and_cs  # MONAI takes seconds to import

    x, y = (F.pad(image, (side // 2,) * 4, mode="reflect") for image in (x, y))
    ssim, _ = compute_ssim_and_cs(x, y, 2, (side, side), (sigma, sigma), data_range=1.0)
    return ssim
