"""Filters of maps and masks against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.images.filters import eroded, guided, median
from scipy import ndimage

from adbench.testing import toy_split
from adbench.training.streams import stream


def test_erosion_is_that_of_scipy_inside_the_image():
    mask = torch.from_numpy(toy_split(1, 32, 1).images) > 0.15
    expected = ndimage.binary_erosion(mask[0, 0].numpy(), np.ones((5, 5)), border_value=1)
    assert np.array_equal(eroded(mask, 5)[0, 0].numpy(), expected)
    assert torch.equal(eroded(mask, 1), mask)


def test_the_median_filter_is_that_of_scipy():
    maps = torch.rand(2, 1, 12, 17, generator=stream("maps", 0))
    expected = ndimage.median_filter(maps.numpy(), (1, 1, 5, 5), mode="mirror")
    assert np.array_equal(median(maps, 5).numpy(), expected)
    assert torch.equal(median(maps, 1), maps)


def regressed(map_: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """The guided filter by its definition: a ridge regression of the map on the image in each window."""
    side, (height, width) = 2 * radius + 1, image.shape
    padded = [np.pad(array.astype(float), radius, mode="edge") for array in (map_, image)]
    slopes, offsets = np.empty((2, height, width))
    for row, column in np.ndindex(height, width):
        p, x = (array[row : row + side, column : column + side].ravel() for array in padded)
        design = np.stack([x, np.ones_like(x)], axis=1)
        penalty = np.diag([epsilon * x.size, 0.0])
        slopes[row, column], offsets[row, column] = np.linalg.solve(design.T @ design + penalty, design.T @ p)
    a, b = (ndimage.uniform_filter(array, side, mode="nearest") for array in (slopes, offsets))
    return a * image + b


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-4), (3, 1e-2)])
def test_the_guided_filter_is_a_regression_in_every_window(radius, epsilon):
    maps, images = (torch.rand(1, 1, 11, 14, generator=stream(name, 0)) for name in ("maps", "images"))
    expected = regressed(maps[0, 0].numpy(), images[0, 0].numpy(), radius, epsilon)
    np.testing.assert_allclose(guided(maps, images, radius, epsilon)[0, 0].numpy(), expected, rtol=1e-3, atol=1e-4)


def test_the_guided_filter_keeps_edges_of_the_image_and_smooths_what_it_has_none_of():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1.0
    noisy = image + 0.1 * torch.randn(image.shape, generator=stream("noise", 0))
    smooth = guided(noisy, image, 3)
    assert float((smooth - image).abs().max()) < 0.1
    assert float((smooth - image).std()) < float((noisy - image).std()) / 3
    torch.testing.assert_close(guided(torch.ones_like(image), image, 3), torch.ones_like(image))
