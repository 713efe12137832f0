"""The UNet on pixels: shapes, patches, and what t does."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.networks.pixel import PixelConfig, PixelUNet, waves
from torch import nn


def awake(**settings: object) -> PixelUNet:
    """A small UNet whose last convolution is not 0."""
    torch.manual_seed(0)
    net = PixelUNet(PixelConfig(channels=(8, 16), **settings)).eval()
    nn.init.normal_(net.last[-1].weight)
    return net


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_output_has_the_shape_of_the_image(patch):
    images = torch.rand(2, 1, 32, 48)
    with torch.no_grad():
        out = awake(patch_px=patch)(images, torch.tensor([1, 5]))
    assert out.shape == images.shape
    assert out.dtype == torch.float32


def test_a_fresh_network_gives_0():
    assert not bool(PixelUNet(PixelConfig(channels=(8, 16)))(torch.rand(2, 1, 16, 16)).any())


@torch.no_grad()
def test_t_matters_for_the_image_that_it_is_given_with_alone():
    net, images = awake(), torch.rand(2, 1, 16, 16)
    low, mixed = net(images, torch.tensor([3, 3])), net(images, torch.tensor([3, 700]))
    torch.testing.assert_close(low[0], mixed[0])
    assert not torch.allclose(low[1], mixed[1], atol=1e-3)


@torch.no_grad()
def test_without_t_every_image_is_at_0():
    net, images = awake(), torch.rand(2, 1, 16, 16)
    assert torch.equal(net(images), net(images, torch.zeros(2)))


def test_a_thousand_steps_have_waves_of_their_own():
    table = waves(torch.arange(1000))
    assert float(torch.cdist(table, table).fill_diagonal_(9.0).min()) > 0.01


@pytest.mark.parametrize(("channels", "patch", "factor"), [((8,), 1, 1), ((8, 8, 8), 1, 4), ((8, 8), 4, 8)])
def test_the_factor_is_that_of_patches_times_levels(channels, patch, factor):
    assert PixelConfig(channels=channels, patch_px=patch).factor == factor
