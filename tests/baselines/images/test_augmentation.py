"""Small affine changes of training images."""

from __future__ import annotations

import torch
from adbench_baselines.images.augmentation import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_augmentation_keeps_shape_and_range_and_is_decided_by_its_generator():
    images = torch.rand(6, 1, 24, 32, generator=generator())
    first, again, other = (augment(images, 1.0, generator(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.isclose(first, images).all((1, 2, 3)).any()


def test_augmentation_changes_each_image_with_its_probability():
    images = torch.rand(200, 1, 8, 8, generator=generator())
    assert torch.equal(augment(images, 0.0, generator()), images)
    changed = (augment(images, 0.5, generator()) != images).flatten(1).any(1)
    assert 70 < int(changed.sum()) < 130


def test_augmentation_repeats_the_border():
    bright = torch.full((50, 1, 16, 16), 0.7)
    torch.testing.assert_close(augment(bright, 1.0, generator()), bright)


def test_augmentation_moves_a_point_by_no_more_than_a_small_affine_change_may():
    images = torch.zeros(100, 1, 65, 65)
    images[:, 0, 32, 32] = 1.0
    images[:, 0, 32, 52] = 1.0  # 20 px from the centre: 20 sin(5 deg) + 1 + 0.2 < 3.2 px
    moved = augment(images, 1.0, generator())
    rows, columns = torch.meshgrid(torch.arange(65), torch.arange(65), indexing="ij")
    near = ((rows - 32) ** 2 + (columns - 32) ** 2 <= 2.5**2) | ((rows - 32) ** 2 + (columns - 52) ** 2 <= 4.2**2)
    assert float(moved[:, 0, ~near].max()) == 0
    assert float(moved[:, 0, 32, 52].min()) < 0.5
