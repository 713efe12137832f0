"""cDDPM and the Mahalanobis distance to its reconstructions: the condition, the passes, and the shared network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adbench_baselines.cddpm import CDDPM, CDDPMConfig
from adbench_baselines.diffusion.conditioned import ConditionedConfig, ConditionedNet, ImageCode
from adbench_baselines.diffusion.pixels import centred
from adbench_baselines.diffusion.schedule import q_sample
from adbench_baselines.images.covariance import mahalanobis_map
from adbench_baselines.images.ssim import ssim_map
from adbench_baselines.mahalanobis import Mahalanobis, MahalanobisConfig
from scipy import ndimage
from tiny_nets import fitted, sick

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

SHORT: dict[str, Any] = {"channels": (8, 8), "patch_px": 2, "steps": 6, "batch_size": 8}


def images(n: int = 6, key: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 32, 32, generator=stream("images", key))


def test_training_asks_for_the_healthy_image_and_shows_the_code_of_it_and_not_of_the_noised_one(monkeypatch):
    net, x, codes = ConditionedNet(ConditionedConfig(**SHORT)), images(), []
    monkeypatch.setattr(net.code, "forward", lambda given: codes.append(given) or torch.zeros(len(given), 32))
    monkeypatch.setattr(net.unet, "forward", lambda x_t, t, code: centred(x) + 0.2)
    assert float(net.losses(x, stream("training", 0))) == pytest.approx(0.2, rel=1e-4)
    assert len(codes) == 1
    assert torch.equal(codes[0], centred(x))


def test_the_code_knows_how_bright_an_image_is_and_not_where_anything_lies():
    torch.manual_seed(0)
    code = ImageCode(ConditionedConfig(**SHORT), 32)
    blank, marked = torch.zeros(2, 1, 1, 64, 64)
    marked[..., 20:28, 20:28] = 1.0
    with torch.no_grad():
        here, there, other = code(marked), code(marked.roll((16, 16), (2, 3))), code(blank)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    assert float((here - other).abs().max()) > 1e-3


def test_the_condition_changes_what_is_restored():
    detector = fitted(CDDPM, {**SHORT, "channels": (16, 16), "steps": 40, "learning_rate": 5e-3})
    x_t, t, net = centred(images()), torch.full((6,), 500), detector.net
    with torch.no_grad():
        change = net(x_t, t, net.code(x_t)) - net(x_t, t, net.code(x_t + 0.5))
    assert float(change.abs().max()) > 1e-3


@pytest.mark.parametrize("network_batch", [1, 8, 1000])
def test_reconstructions_are_those_of_each_draw_alone_however_many_share_a_pass(network_batch):
    detector = fitted(CDDPM, {**SHORT, "network_batch": network_batch})
    x_0, net = centred(sick()), detector.net
    with torch.no_grad():
        found = detector.redrawn(x_0, [250, 250, 700])
        for number, t in enumerate((250, 250, 700)):
            x_t = q_sample(net.schedule, x_0, t, detector.noise_at(f"draw {number}", t, x_0))
            alone = net(x_t, torch.full((len(x_0),), t), net.code(x_0))
            torch.testing.assert_close(found[number], alone, atol=1e-4, rtol=1e-4)
    assert not torch.equal(detector.noise_at("draw 0", 250, x_0), detector.noise_at("draw 1", 250, x_0))


def test_the_residual_is_to_the_mean_over_t_and_median_filtered(monkeypatch):
    detector, healthy = fitted(CDDPM, SHORT), images(3, key=1)
    monkeypatch.setattr(
        detector, "redrawn", lambda x_0, times: centred(healthy[:, None].expand(3, len(x_0), -1, -1, -1))
    )
    residual = (sick() - healthy.mean(0)).abs()
    filtered = torch.from_numpy(ndimage.median_filter(residual.numpy(), (1, 1, 5, 5), mode="mirror"))
    torch.testing.assert_close(detector.score(sick()), filtered, atol=1e-6, rtol=0)


def test_the_distance_is_smoothed_and_multiplied_by_the_dissimilarity(monkeypatch):
    detector, samples = fitted(Mahalanobis, {**SHORT, "map_sigma_px": 0.0, "ridge": 0.1}), images(4, key=2)
    monkeypatch.setattr(
        detector, "redrawn", lambda x_0, times: centred(samples[:, None].expand(4, len(x_0), -1, -1, -1))
    )
    x, drawn = sick(), samples[:, None].expand(4, len(sick()), -1, -1, -1)
    expected = mahalanobis_map(x, drawn, 0.1) * (1 - ssim_map(x, drawn.mean(0), 11, 1.0))
    torch.testing.assert_close(detector.score(x), expected, atol=1e-5, rtol=1e-4)


def test_both_methods_share_one_network_whatever_their_settings_of_scoring():
    runtime = Runtime()
    part = fitted(CDDPM, SHORT, runtime).artifacts()
    assert fitted(CDDPM, {**SHORT, "times": (100,), "median_px": 1}, runtime).artifacts() == part
    other = fitted(Mahalanobis, {**SHORT, "test_t": 300, "reconstructions": 3, "ridge": 1.0}, runtime)
    assert other.artifacts() == part
    assert other.passes == {"restore": 3}
    assert other.score(sick()).shape == sick().shape


def test_settings_that_the_network_does_not_allow_are_refused():
    with pytest.raises(ValueError, match=r"max\(times\)=750 is beyond the steps .*, 1 to 600"):
        CDDPMConfig(t_last=600)
    with pytest.raises(ValueError, match=r"times must be 1 or more, got \[0, 5\]"):
        CDDPMConfig(times=(0, 5))
    with pytest.raises(ValueError, match="median_px must be odd, got 2"):
        CDDPMConfig(median_px=2)
    with pytest.raises(ValueError, match="test_t=500 is beyond"):
        MahalanobisConfig(t_last=400)
