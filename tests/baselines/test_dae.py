"""The denoising autoencoder: its noise, its foreground, its network, its post-processing, and the detector contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.dae import (
    DAE,
    DAEConfig,
    DenoisingUNet,
    StandardisedConv,
    border_level,
    coarse_noise,
    foreground,
)
from adbench_baselines.images.filters import eroded, median
from scipy import ndimage
from tiny_nets import build, fitted, sick, stack

from adbench.config.presets import PRESETS
from adbench.contracts.detector import Images, Runtime
from adbench.errors import ConfigError
from adbench.storage.store import ArtifactStore
from adbench.testing import DetectorContract, toy_split
from adbench.training import loop
from adbench.training.streams import stream

TINY = {
    "channels": (8, 8), "steps": 60, "batch_size": 8, "learning_rate": 5e-3, "ema_decay": 0.8, "cell_px": 4,
    "noise_std": 0.4, "margin": 0.05,
}  # fmt: skip
SHORT = {**TINY, "steps": 6}


class TestUnmaskedDAE(DetectorContract):
    detector_class = DAE
    n_healthy = 16
    n_validation = 4
    settings = {**TINY, "masked": False, "median_px": 1}


def drawn(n: int = 4, side: int = 64, std: float = 0.2, cell: int = 8, key: int = 0) -> torch.Tensor:
    return coarse_noise(torch.Size((n, 1, side, side)), std, cell, stream("noise", 0, key))


def unrolled(image: torch.Tensor, cells: int) -> tuple[torch.Tensor, list[int]]:
    """Roll an image (H, W) back to where it is bilinear between `cells` x `cells` points; return it and the shifts."""
    side, shifts = len(image), []
    at = torch.linspace(0, side - 1, cells)
    for dim in (0, 1):
        candidates = [image.roll(-shift, dim).movedim(dim, 0) for shift in range(side)]
        bends = [kinks(candidate, at) for candidate in candidates]
        shifts.append(bends.index(min(bends)))
        assert min(bends) < 1e-5, "nowhere bilinear"
        image = candidates[shifts[-1]].movedim(0, dim)
    return image, shifts


def kinks(image: torch.Tensor, at: torch.Tensor) -> float:
    """Largest second difference along the first dimension, away from the lines at `at`."""
    second = (image[2:] - 2 * image[1:-1] + image[:-2]).abs()
    smooth = (torch.arange(1, len(image) - 1)[:, None] - at).abs().min(1).values >= 1
    return float(second[smooth].max())


def test_the_noise_is_bilinear_between_one_point_a_cell_and_each_image_is_rolled_by_itself_both_ways():
    shifts = [unrolled(image, 8)[1] for image in drawn(6)[:, 0]]
    for along in zip(*shifts, strict=True):
        assert len(set(along)) >= 4


def test_noise_of_one_pixel_cells_has_the_standard_deviation_asked_for():
    fine = drawn(20, cell=1, std=0.3)
    assert float(fine.std()) == pytest.approx(0.3, rel=0.02)
    assert float(fine.mean()) == pytest.approx(0.0, abs=0.005)


def test_coarse_noise_has_the_spread_of_a_bilinear_surface():
    """Between two independent points the variance is t^2 + (1 - t)^2, 2/3 on average, in each of two dimensions."""
    assert float(drawn(400).std()) == pytest.approx(0.2 * 2 / 3, rel=0.03)


def test_neighbouring_pixels_share_coarse_noise_and_distant_ones_do_not():
    noise = drawn(200)[:, 0] / (0.2 * 2 / 3)
    assert float((noise[:, :, 1:] * noise[:, :, :-1]).mean()) > 0.9
    assert abs(float((noise[:, :, 24:40] * noise[:, :, :16]).mean())) < 0.1


def test_the_noise_is_decided_by_its_stream_and_every_image_has_its_own():
    assert torch.equal(drawn(), drawn())
    assert not torch.equal(drawn(), drawn(key=1))
    assert not torch.equal(drawn()[0], drawn()[1])


@pytest.mark.parametrize("side", [40, 44])
def test_sides_that_are_no_multiple_of_the_cell_get_noise_too(side):
    assert drawn(2, side).shape == (2, 1, side, side)


def head(side: int = 32, background: float = 0.1) -> torch.Tensor:
    """A disc of 0.4 with a hole as dark as the background, (1, 1, side, side)."""
    y, x = torch.meshgrid(torch.arange(side) - side / 2, torch.arange(side) - side / 2, indexing="ij")
    radius = torch.hypot(y, x)
    image = torch.full((side, side), background)
    image[radius < side * 0.4] = 0.4
    image[radius < side * 0.1] = background
    return image[None, None]


def test_the_background_is_the_level_of_the_border_even_where_some_heads_touch_it():
    images = head().repeat(5, 1, 1, 1)
    images[:2, :, 10:20, 0] = 0.9
    assert float(border_level(images)) == pytest.approx(0.1)


def test_the_border_is_counted_once():
    image = torch.zeros(1, 1, 3, 4)
    image[..., 1:-1, 1:-1] = 9.0  # the inside must not count
    image[..., 0, :] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    image[..., -1, :] = torch.tensor([5.0, 6.0, 7.0, 8.0])
    image[..., 1, 0], image[..., 1, -1] = 0.0, 10.0
    values = [1, 2, 3, 4, 5, 6, 7, 8, 0, 10]
    assert float(border_level(image)) == sorted(values)[(len(values) - 1) // 2]


def test_holes_of_the_foreground_belong_to_it_unless_told_otherwise():
    image = head()
    open_mask, filled = foreground(image, 0.15, False), foreground(image, 0.15, True)
    assert torch.equal(open_mask, image > 0.15)
    assert bool(filled[0, 0, 16, 16])
    assert not bool(open_mask[0, 0, 16, 16])
    assert not bool(filled[0, 0, 0].any())
    assert np.array_equal(filled[0, 0], ndimage.binary_fill_holes(open_mask[0, 0]))


def test_holes_are_filled_image_by_image():
    images = torch.zeros(3, 1, 8, 8)
    images[0] = images[2] = 1.0
    assert not bool(foreground(images, 0.5, True)[1].any())


@pytest.mark.parametrize("masked", [True, False])
def test_noise_is_added_in_the_foreground_alone(masked, monkeypatch):
    net, seen = DenoisingUNet(DAEConfig(channels=(8, 8), margin=0.05, masked=masked)), []
    net.level.fill_(0.1)
    monkeypatch.setattr(net, "forward", lambda x: seen.append(x) or x)
    images = head().repeat(2, 1, 1, 1)
    net.losses(images, stream("noise", 0))
    added = seen[0] - images
    mask = foreground(images, 0.15, True)
    expected = coarse_noise(images.shape, 0.2, 8, stream("noise", 0))
    torch.testing.assert_close(added[mask], expected[mask])
    assert not bool(added[~mask].any())


def test_the_loss_counts_the_foreground_alone_where_masked(monkeypatch):
    images, outside = head(), ~foreground(head(), 0.15, True)
    losses = {}
    for masked in (True, False):
        net = DenoisingUNet(DAEConfig(channels=(8, 8), margin=0.05, masked=masked))
        net.level.fill_(0.1)
        monkeypatch.setattr(net, "forward", lambda x: images + outside.float())  # wrong by 1 outside alone
        losses[masked] = float(net.losses(images, stream("noise", 0)))
    assert losses[True] == 0
    assert losses[False] == pytest.approx(float(outside.float().mean()))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 128), (48, 72)])
def test_the_reconstruction_has_the_shape_of_the_image(height, width):
    images = torch.rand(2, 1, height, width, generator=stream("images", 0))
    x_hat = DenoisingUNet(DAEConfig(channels=(8, 16, 16, 16))).eval()(images)
    assert x_hat.shape == images.shape
    assert x_hat.dtype == torch.float32


def test_the_default_network_has_four_levels_from_64_to_512_channels():
    net = DenoisingUNet(DAEConfig())
    shapes = [tuple(m.weight.shape[:2]) for m in net.modules() if isinstance(m, StandardisedConv)]
    down = [(64, 1), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]
    up = [(256, 512), (256, 256), (128, 256), (128, 128), (64, 128), (64, 64)]
    assert shapes == down + up


def test_standardised_weights_do_not_depend_on_scale_or_offset_of_the_weights():
    conv = StandardisedConv(4, 3, 3)
    torch.nn.init.normal_(conv.weight, generator=stream("weights", 0))
    x = torch.randn(2, 4, 8, 8, generator=stream("x", 0))
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(3.0).add_(0.7)
    torch.testing.assert_close(conv(x), before, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        conv.bias.zero_()
    constant = conv(torch.ones(1, 4, 8, 8))
    torch.testing.assert_close(constant, torch.zeros_like(constant), atol=1e-4, rtol=0)


@pytest.mark.parametrize("masked", [True, False])
def test_the_score_is_the_residual_masked_and_filtered(masked):
    detector, images = fitted(DAE, {**SHORT, "masked": masked, "median_px": 3, "erosion_px": 3}), sick()
    residual = (images - detector.net(images)).abs()
    if masked:
        mask = foreground(images, detector.net.level + 0.05, True)
        residual = residual * eroded(mask, 3)
    torch.testing.assert_close(detector.score(images), median(residual, 3))


def test_the_background_s_level_is_estimated_or_given_and_travels_with_the_state():
    estimated, given = fitted(DAE, SHORT), fitted(DAE, {**SHORT, "background": 0.0})
    assert float(estimated.net.level) == pytest.approx(float(border_level(stack(16, 1)[:])))
    assert float(given.net.level) == 0
    loaded = build(DAE, SHORT)
    loaded.load_state(estimated.state())
    assert torch.equal(loaded.net.level, estimated.net.level)


def test_post_processing_shares_the_trained_network_and_noise_does_not():
    runtime = Runtime()
    part = fitted(DAE, SHORT, runtime).artifacts()
    assert fitted(DAE, {**SHORT, "median_px": 1, "erosion_px": 1}, runtime).artifacts() == part
    assert fitted(DAE, {**SHORT, "noise_std": 0.3}, runtime).artifacts() != part


def test_training_learns_to_remove_the_noise():
    detector, images = fitted(DAE, {**TINY, "masked": False}), stack(16, 9)[:]
    mask = detector.net.foreground(images)
    noise = mask * coarse_noise(images.shape, 0.4, 4, stream("noise", 9))
    left = float((detector.net(images + noise) - images).square().mean())
    assert left < 0.5 * float(noise.square().mean())


def test_a_training_that_was_cut_off_gives_the_weights_of_one_that_was_not(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)
    whole, store = fitted(DAE, SHORT), ArtifactStore.temporary()
    original, calls = DenoisingUNet.losses, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(DenoisingUNet, "losses", stops)
    with pytest.raises(KeyboardInterrupt):
        fitted(DAE, SHORT, Runtime(store=store))
    resumed = fitted(DAE, SHORT, Runtime(store=store))
    assert len(calls) == 4 + 3  # three steps were kept
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name


@pytest.mark.parametrize("side", [36, 8])
def test_an_image_size_that_the_levels_do_not_divide_is_an_error(side):
    images = Images(np.zeros((4, 1, 64, side), np.float32), "odd")
    with pytest.raises(ConfigError, match=f"DAE needs images .* multiples of 8, from 16 on, got 64 x {side}"):
        build(DAE, {"steps": 1}).fit(images, images)


@pytest.mark.parametrize("name", ["erosion_px", "median_px"])
def test_an_even_window_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be odd, got 4"):
        DAEConfig(**{name: 4})


def test_every_preset_runs_at_64_px_with_its_own_network():
    split = toy_split(4, 64, 1)
    images = Images(split.images, split.image_fingerprint)
    for preset in PRESETS:
        x_hat = build(DAE, {**DAE.presets[preset]}).plan(images, images).forward(2)()
        assert x_hat.shape == (2, 1, 64, 64)
