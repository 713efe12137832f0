"""Foreign patch interpolation: what is blended, what is predicted, and the detector."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.fpi import FPI, BlendNet, FPIConfig, interpolated
from tiny_nets import fitted, sick, stack

from adbench.training.streams import stream

SHORT = {"channels": (8, 8), "patch_px": 2, "steps": 6, "batch_size": 8}


def healthy(n: int = 32, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=stream("healthy", 0))


def test_inside_its_patch_an_image_is_the_blend_of_two_at_the_same_place_and_unchanged_outside():
    images = healthy()
    mixed, weight = interpolated(images, FPIConfig(), stream("patch", 0))
    outside = weight == 0
    assert torch.equal(mixed[outside], images[outside])
    found = ((mixed - images) / (images.roll(1, 0) - images))[~outside]
    torch.testing.assert_close(found, weight[~outside], rtol=1e-2, atol=1e-3)


def test_the_target_is_one_blend_factor_a_patch_between_the_two_limits():
    _, weight = interpolated(healthy(200), FPIConfig(), stream("patch", 1))
    values = [image.unique().tolist() for image in weight]
    assert all(len(found) == 2 and found[0] == 0 for found in values)
    factors = torch.tensor([found[1] for found in values])
    assert 0.05 <= float(factors.min()) < 0.1
    assert 0.9 < float(factors.max()) <= 0.95


def test_the_target_is_zero_where_both_images_agree():
    images = torch.zeros(4, 1, 32, 32)
    mixed, weight = interpolated(images, FPIConfig(), stream("patch", 2))
    assert not bool(weight.any())
    assert torch.equal(mixed, images)


def test_the_loss_is_least_where_the_blend_factor_itself_is_predicted(monkeypatch):
    """A soft target: neither a binary mask nor anything else does better than alpha."""
    images, net = healthy(), BlendNet(FPIConfig(**SHORT))
    _, weight = interpolated(images, net.config, stream("patch", 3))

    def loss(predicted: torch.Tensor) -> float:
        monkeypatch.setattr(net.unet, "forward", lambda x: torch.logit(predicted, eps=1e-4))
        return float(net.losses(images, stream("patch", 3)))

    best = loss(weight)
    assert best < loss((weight > 0).float())
    assert best < loss(0.9 * weight)
    assert best < loss((1.05 * weight).clamp(max=1))


def test_the_score_is_a_blend_factor_of_the_image_as_it_is():
    detector, images = fitted(FPI, SHORT), sick()
    scores = detector.score(images)
    assert torch.equal(scores, detector.net.unet(images).sigmoid())
    assert 0 <= float(scores.min()) <= float(scores.max()) <= 1


@pytest.mark.slow
def test_after_training_more_is_seen_in_patches_than_beside_them():
    settings = {**SHORT, "channels": (16, 16), "steps": 300, "learning_rate": 5e-3, "ema_decay": 0.9}
    detector, images = fitted(FPI, settings), stack(16, 9)[:]
    mixed, weight = interpolated(images, detector.config, stream("patch", 4))
    alpha = detector.score(mixed)
    assert float(alpha[weight > 0.5].mean()) > 1.2 * float(alpha[weight == 0].mean())


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"alpha_first <= alpha_last is needed, got 0\.9 and 0\.2"):
        FPIConfig(alpha_first=0.9, alpha_last=0.2)


def test_it_says_that_it_learns_from_synthetic_anomalies():
    assert FPI.knowledge == "synthetic anomalies"
