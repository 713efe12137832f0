"""DISYRE: its corruption, both ways of restoring, and the detector."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines import disyre
from adbench_baselines.disyre import DISYRE, DISYREConfig, corrupted, mean_residual, restored, strengths
from tiny_nets import fitted, sick
from torch import nn

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

SHORT = {"channels": (8, 8), "patch_px": 2, "steps": 6, "batch_size": 8, "timesteps": 4}


class Healthy(nn.Module):
    """Restores every image to one known `x_0`; remembers what it was given."""

    def __init__(self, x_0: torch.Tensor) -> None:
        super().__init__()
        self.x_0, self.alpha = x_0, strengths(100, 1e-3, 0.2)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, images: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.seen.append((images, t))
        return self.x_0.expand_as(images)


def images(n: int = 6, side: int = 32, key: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=stream("images", key))


def test_the_strength_rises_with_t_from_nothing_to_almost_all():
    alpha = strengths(100, 1e-3, 0.2)
    assert len(alpha) == 101
    assert float(alpha[0]) == 0
    assert bool((alpha[1:] > alpha[:-1]).all())
    assert float(alpha[1]) < 0.01
    assert float(alpha[100]) == pytest.approx((1 - 1e-3) ** 0.5)
    assert float(alpha[99] / alpha[100]) == pytest.approx((1 - 1e-3 - (0.2 - 1e-3) / 99) ** 0.5)


def test_corruption_of_strength_0_changes_nothing_and_grows_in_proportion_to_the_strength():
    x_0 = images()
    weak, strong, none = (
        corrupted(x_0, torch.full((6,), alpha), DISYREConfig(), stream("corruption", 0)) - x_0
        for alpha in (0.2, 0.8, 0.0)
    )
    assert not bool(none.any())
    torch.testing.assert_close(strong, 4 * weak, atol=1e-5, rtol=1e-3)
    assert bool(strong.flatten(1).abs().amax(1).gt(0.1).all())


def test_what_is_blended_in_is_healthy_intensity_of_another_image():
    """Images of one level each: a corrupted one lies between its own level and its partner's."""
    levels = torch.tensor([0.1, 0.5, 0.9])
    x_0 = levels[:, None, None, None].expand(3, 1, 32, 32)
    x_t = corrupted(x_0, torch.ones(3), DISYREConfig(), stream("corruption", 1)).flatten(1)
    partner = levels.roll(1)
    for row, own, other in zip(x_t, levels, partner, strict=True):
        assert min(own, other) - 1e-6 <= float(row.min())
        assert float(row.max()) <= max(own, other) + 1e-6
        assert float((row - own).abs().max()) == pytest.approx(float((other - own).abs()), rel=0.1)


def test_training_asks_for_the_healthy_image_from_every_t(monkeypatch):
    net = disyre.Restorer(DISYREConfig(**SHORT))
    asked: list[int] = []
    monkeypatch.setattr(net, "forward", lambda x, t: asked.extend(t.tolist()) or x)
    for step in range(100):
        net.losses(images(8), stream("training", step))
    assert set(asked) == set(range(1, 101))
    x_0 = images(8)
    monkeypatch.setattr(net, "forward", lambda x, t: x_0)
    assert float(net.losses(x_0, stream("training", 0))) == 0


def test_a_fresh_network_leaves_images_as_they_are():
    net, x = disyre.Restorer(DISYREConfig(**SHORT)), images()
    assert torch.equal(net(x, torch.full((6,), 5)), x)


@pytest.mark.parametrize("network_batch", [1, 7, 12, 1000])
def test_the_mean_residual_is_that_of_each_t_alone_however_many_share_a_pass(network_batch):
    net, x, times = fitted(DISYRE, SHORT).net, sick(), [1, 30, 60, 100]
    alone = [(x - net(x, torch.full((len(x),), t))).abs() for t in times]
    torch.testing.assert_close(mean_residual(net, x, times, network_batch), torch.stack(alone).mean(0))


def test_a_chain_of_perfect_restorations_ends_at_the_healthy_image_by_way_of_weaker_corruption():
    x_0, x_fp = images(1), images(1, key=1)
    net = Healthy(x_0)
    x_t = x_0 + net.alpha[100] * (x_fp - x_0)
    path = [(100, 60), (60, 20), (20, 0)]
    assert torch.equal(restored(net, x_t, path), x_0)
    for (seen, t), (expected, _) in zip(net.seen, path, strict=True):
        assert t.tolist() == [expected]
        torch.testing.assert_close(seen, x_0 + net.alpha[expected] * (x_fp - x_0))


@pytest.mark.parametrize("restoration", ["single", "multiple"])
def test_both_restorations_take_the_passes_that_are_planned_and_share_a_network(restoration):
    runtime = Runtime()
    part = fitted(DISYRE, SHORT, runtime).artifacts()
    detector = fitted(DISYRE, {**SHORT, "restoration": restoration}, runtime)
    assert detector.artifacts() == part
    assert detector.passes == {"restore": 4}
    assert len(detector.path) == len(detector.times) == 4
    assert detector.score(sick()).shape == sick().shape


def test_radii_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"radius_first <= radius_last is needed, got 0\.3 and 0\.1"):
        DISYREConfig(radius_first=0.3, radius_last=0.1)


def test_it_says_that_it_learns_from_synthetic_anomalies():
    assert DISYRE.knowledge == "synthetic anomalies"
