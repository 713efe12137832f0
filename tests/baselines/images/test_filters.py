"""Filters of maps and masks against scipy."""

from __future__ import annotations

import numpy as np
import torch
from adbench_baselines.images.filters import eroded, median
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
