"""The Mahalanobis distance from few samples (Behrendt et al. 2024, arXiv 2407.12474)."""

from __future__ import annotations

import torch
from torch import Tensor


def mahalanobis_map(images: Tensor, samples: Tensor, ridge: float) -> Tensor:
    """Return sqrt(d * S^-1 d) at every pixel of images (B, 1, H, W), 0 where the product is negative.

    `samples` (k, B, 1, H, W), k >= 2, have the mean m and the covariance C of all pixels of an image; d = image - m and
    S = C + `ridge` I. C has a rank below k, so that S^-1 d takes a k x k system (Woodbury): with the centred samples
    over sqrt(k - 1) as the rows of R, S^-1 d = (d - R^T (R R^T + ridge I)^-1 R d) / ridge.
    """
    k = len(samples)
    flat = samples.flatten(2).movedim(0, 1).double()  # (B, k, P)
    mean = flat.mean(1, keepdim=True)
    rows, d = (flat - mean) / (k - 1) ** 0.5, images.flatten(1)[:, :, None].double() - mean.movedim(1, 2)
    small = rows @ rows.mT + ridge * torch.eye(k, dtype=rows.dtype, device=rows.device)
    solved = (d - rows.mT @ torch.linalg.solve(small, rows @ d)) / ridge
    return (d * solved).clamp(min=0).sqrt().reshape(images.shape).to(images.dtype)
