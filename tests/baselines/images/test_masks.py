"""Random masks of clustered squares."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.images.masks import clusters
from torch import Tensor

from adbench.training.streams import stream


def masks(n: int = 200, size: tuple[int, int] = (60, 60), seed: int = 0) -> Tensor:
    return clusters(n, size, stream("masks", seed))


def test_masks_are_of_two_values_and_none_is_empty():
    found = masks()
    assert found.shape == (200, 1, 60, 60)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert bool((found.sum((1, 2, 3)) > 0).all())


@pytest.mark.parametrize("side", [60, 120])
def test_the_part_that_masks_cover_is_that_of_the_authors_masks_at_any_size(side):
    """Quartiles of 300 masks that their code draws on 240 x 240 pixels, all of it brain."""
    part = masks(400, (side, side)).mean((1, 2, 3))
    found = part.quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(found, torch.tensor([0.016, 0.049, 0.092]), atol=0.02, rtol=0)


def test_masks_lie_everywhere_alike_but_for_the_border():
    covered = masks(1500).mean((0, 1))
    middle = covered[6:-6, 6:-6]
    assert float(middle.min()) > 0.4 * float(middle.mean())


def test_masks_are_those_of_their_generator_and_of_images_that_are_not_square():
    assert torch.equal(masks(3, (32, 48), 1), masks(3, (32, 48), 1))
    assert not torch.equal(masks(3, (32, 48), 1), masks(3, (32, 48), 2))
