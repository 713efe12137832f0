"""IterMask2: the fine structure, the first mask, how masks shrink, and the threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.itermask2 import IterMask2, fine_structure, largest, scaled
from tiny_nets import fitted, sick, stack
from torch import Tensor

from adbench.training.streams import stream

SHORT = {
    "channels": (8, 8), "patch_px": 2, "steps": 6, "batch_size": 8, "ema_decay": 0.0, "cutoff": 6, "iterations": 8,
}  # fmt: skip


RAMP = torch.linspace(1, 2, 32).expand(1, 1, 32, 32)


def images(n: int = 3, side: int = 32) -> Tensor:
    return torch.rand(n, 1, side, side, generator=stream("images", 0))


class Filler(torch.nn.Module):
    """Misses by what it is told, first and then in masks, and remembers these."""

    def __init__(self, first: Tensor, inside: Tensor) -> None:
        super().__init__()
        self.first, self.inside, self.masks = first, inside, []

    def forward(self, x: Tensor, mask: Tensor, fine: Tensor, noise: Tensor) -> Tensor:
        if bool(mask.all()):
            return x + self.first
        self.masks.append(mask.clone())
        return x + mask * self.missed()

    def missed(self) -> Tensor:
        return self.inside


def with_net(net: Filler, threshold: float, **settings: float) -> IterMask2:
    detector = fitted(IterMask2, {**SHORT, **settings})
    detector.trained = {"itermask2": net}
    detector.threshold = torch.tensor(threshold)
    return detector


def test_the_fine_structure_keeps_all_phases_and_the_amplitudes_from_the_cutoff_on():
    x, cutoff = images(), 6.0
    ours, theirs = torch.fft.fft2(fine_structure(x, cutoff)), torch.fft.fft2(x)
    axis = np.fft.fftfreq(32, 1 / 32)
    coarse = torch.from_numpy(np.hypot(axis[:, None], axis[None, :]) < cutoff)
    turned = (ours / ours.abs() - theirs / theirs.abs()).abs()
    assert float(turned.max()) < 1e-3
    torch.testing.assert_close(ours.abs()[..., ~coarse], theirs.abs()[..., ~coarse], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.abs()[..., coarse], torch.ones_like(ours.abs()[..., coarse]), rtol=1e-3, atol=1e-3)


def test_without_a_cutoff_the_fine_structure_is_the_image():
    torch.testing.assert_close(fine_structure(images(), 0.0), images(), rtol=1e-4, atol=1e-5)


def test_the_first_mask_covers_the_largest_errors_of_each_image():
    errors = images() * torch.tensor([1.0, 5.0, 0.1])[:, None, None, None]
    mask = largest(errors, torch.tensor([600.0, 20.4, 99999.0]))
    assert mask.sum((1, 2, 3)).tolist() == [600, 20, 32 * 32 - 1]
    for error, of in zip(errors, mask, strict=True):
        assert float(error[of == 1].min()) > float(error[of == 0].max())


def test_masks_never_grow_and_end_with_the_pixels_whose_error_stays_above_the_threshold():
    x = images(1)
    error = torch.zeros_like(x)
    error[..., :8, :8] = 2.0
    net = Filler(first=RAMP, inside=error)
    found = with_net(net, threshold=1.0).score(x)
    for before, after in zip(net.masks, net.masks[1:], strict=False):
        assert bool((after <= before).all())
    first = net.masks[0] == 1
    assert torch.equal(net.masks[-1] == 1, first & (error > 0)), "what is left is where the error is large"
    assert torch.allclose(found, torch.where(net.masks[-1] == 1, error.square(), 0.0), atol=1e-4)


class Fading(Filler):
    """Each time another tenth of the image is filled in well."""

    def missed(self) -> Tensor:
        return 2.0 * (images(1) > len(self.masks) / 10)


def test_an_image_is_done_when_its_mask_shrinks_no_more_whatever_the_others_do():
    both = Filler(first=RAMP, inside=torch.full((1, 1, 32, 32), 2.0))
    with_net(both, threshold=1.0).score(images(2))
    assert [len(mask) for mask in both.masks] == [2], "nothing is filled in well: no mask shrinks"
    fading = Fading(first=RAMP, inside=torch.zeros(1))
    with_net(fading, threshold=1.0, iterations=100).score(images(1))
    assert len(fading.masks) == 11, "until nothing is left"
    assert not bool(fading.masks[-1].any())


def test_there_are_no_more_masks_than_asked_for():
    fading = Fading(first=RAMP, inside=torch.zeros(1))
    with_net(fading, threshold=1.0, iterations=4).score(images(1))
    assert len(fading.masks) == 4


def test_the_threshold_is_exceeded_by_a_fifth_of_the_masked_pixels_of_healthy_images():
    detector = fitted(IterMask2, SHORT)
    errors = torch.cat(list(detector._masked_errors(stack(40, 2))))
    assert float((errors > detector.threshold).float().mean()) == pytest.approx(0.2, abs=0.01)
    wider = fitted(IterMask2, {**SHORT, "error_fraction": 0.5})
    assert float(wider.threshold) < float(detector.threshold)


def test_what_is_masked_is_hidden_from_the_network_and_the_rest_stays_as_it_is():
    detector, x = fitted(IterMask2, SHORT), scaled(sick(2))
    mask = largest(x, torch.tensor([500.0, 100.0]))
    fine, noise = torch.zeros_like(x), detector.noise(0, x).expand_as(x)
    changed = torch.where(mask == 1, -x, x)
    x_hat = detector.net(x, mask, fine, noise)
    assert torch.equal(x_hat, detector.net(changed, mask, fine, noise))
    assert torch.equal(x_hat[mask == 0], x[mask == 0])


def test_the_loss_is_that_of_masked_pixels_half_of_the_images_all_masked(monkeypatch):
    net, x = fitted(IterMask2, SHORT).net, images(8)
    seen = []

    def unet(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return scaled(x) + 3.0

    monkeypatch.setattr(net.unet, "forward", unet)
    assert float(net.losses(x, stream("loss", 0))) == pytest.approx(9.0, rel=1e-4)
    hidden = (seen[0][:, :1] != scaled(x)).float().mean((1, 2, 3))
    assert bool((hidden[:4] == 1).all())
    assert bool((hidden[4:] < 0.5).all())


def test_the_first_mask_has_most_of_as_many_pixels_as_the_image_has_tissue():
    detector, x = fitted(IterMask2, SHORT), sick()
    of = scaled(x)
    mask = detector.first_mask(x, of, fine_structure(of, 6))
    assert mask.sum((1, 2, 3)).tolist() == pytest.approx((0.6 * (x > 0.05).sum((1, 2, 3))).tolist(), abs=1)


def test_after_training_masked_parts_are_filled_in_better_than_by_the_mean():
    settings = {**SHORT, "channels": (16, 16), "steps": 200, "learning_rate": 5e-3, "ema_decay": 0.9}
    detector, x = fitted(IterMask2, settings), scaled(stack(16, 9)[:])
    mask = torch.zeros_like(x)
    mask[..., 10:20, 10:20] = 1
    x_hat = detector.net(x, mask, fine_structure(x, 6), detector.noise(0, x).expand_as(x))
    inside = mask == 1
    ours, mean = (x - x_hat)[inside].square().mean(), (x - x.mean())[inside].square().mean()
    assert float(ours) < 0.5 * float(mean)
