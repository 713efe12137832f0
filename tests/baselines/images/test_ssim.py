"""SSIM at every place, against its formula with SciPy's Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.images.ssim import ssim_map
from numpy.typing import NDArray
from scipy import ndimage

from adbench.training.streams import stream


def reference(x: NDArray[np.float64], y: NDArray[np.float64], side: int, sigma: float) -> NDArray[np.float64]:
    """SSIM of images (H, W) by equation 13 of Wang et al. 2004 with L = 1."""

    def mean(of: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = ndimage.gaussian_filter(of, sigma, mode="mirror", truncate=(side // 2) / sigma)
        return found

    luminance = (2 * mean(x) * mean(y) + 1e-4) / (mean(x) ** 2 + mean(y) ** 2 + 1e-4)
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    return luminance * (2 * covariance + 9e-4) / (variances + 9e-4)


@pytest.mark.parametrize(("side", "sigma"), [(11, 1.0), (5, 1.5)])
def test_it_is_the_formula_at_every_pixel_and_channel(side, sigma):
    x, y = torch.rand(2, 2, 3, 24, 32, generator=stream("ssim", 0))
    found = ssim_map(x, y, side, sigma)
    for i in range(2):
        for c in range(3):
            theirs = reference(x[i, c].double().numpy(), y[i, c].double().numpy(), side, sigma)
            np.testing.assert_allclose(found[i, c], theirs, atol=1e-4)


def test_an_image_is_as_similar_to_itself_as_can_be_and_less_to_any_other():
    x, y = torch.rand(2, 4, 1, 16, 16, generator=stream("ssim", 1))
    torch.testing.assert_close(ssim_map(x, x, 5, 1.5), torch.ones_like(x), atol=1e-5, rtol=0)
    assert float(ssim_map(x, y, 5, 1.5).mean()) < 0.5
