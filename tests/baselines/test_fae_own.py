"""Features of the VQ-VAE's encoder, their autoencoder, and the map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adbench_baselines.fae_own import FAEOwn
from adbench_baselines.images.ssim import ssim_map
from adbench_baselines.networks.feature_ae import FeatureAE, FeatureAEConfig
from adbench_baselines.networks.features import feature_channels, latent_features
from adbench_baselines.networks.vqvae import VQVAE, VQVAEConfig
from tiny_nets import VQVAE_SETTINGS, build, fitted, sick, stack

from adbench.errors import ConfigError
from adbench.training.streams import stream

AE: dict[str, Any] = {"channels": (8,), "steps": 4, "batch_size": 8, "ema_decay": 0.0}
SHORT: dict[str, Any] = {"vqvae": VQVAE_SETTINGS, "autoencoder": AE}


@pytest.mark.parametrize(("factor", "side"), [(4, 8), (8, 4)])
def test_features_are_every_level_at_the_latents_resolution_and_never_negative(factor, side):
    config = VQVAEConfig(**{**VQVAE_SETTINGS, "factor": factor})
    phi = latent_features(VQVAE(config), sick())
    assert phi.shape == (len(sick()), feature_channels(config), side, side)
    assert float(phi.min()) >= 0


def test_training_features_have_about_unit_spread_in_every_channel_that_varies():
    detector = fitted(FAEOwn, SHORT)
    healthy = stack(16, 1)
    phi = latent_features(detector.trained["vqvae"], healthy[:16]) / detector.trained["autoencoder"].spread
    spread = phi.std((0, 2, 3))
    assert float(spread.max()) == pytest.approx(1, abs=0.01)
    assert float(spread.median()) == pytest.approx(1, abs=0.01)


def test_the_loss_is_minus_ssim_and_dropout_is_drawn_from_the_generator():
    torch.manual_seed(0)
    net = FeatureAE(FeatureAEConfig(channels=(8,), dropout=0.5), 6)
    phi = torch.rand(4, 6, 8, 8, generator=stream("features", 0))
    with torch.no_grad():
        first, again, other = (float(net.losses(phi, stream("training", key))) for key in (0, 0, 1))
        assert first == again != other
        plain = FeatureAE(FeatureAEConfig(channels=(8,), dropout=0.0), 6)
        loss = float(plain.losses(phi, stream("training", 0)))
        assert loss == pytest.approx(-float(ssim_map(phi, plain(phi), 5, 1.5).mean()), abs=1e-6)


def test_a_perfect_reconstruction_scores_nothing_and_another_one_its_dissimilarity(monkeypatch):
    detector = fitted(FAEOwn, SHORT)
    net = detector.trained["autoencoder"]
    monkeypatch.setattr(net, "forward", lambda phi: phi)
    assert float(detector.score(sick()).abs().max()) < 1e-5
    monkeypatch.setattr(net, "forward", lambda phi: phi.flip(0))
    phi = latent_features(detector.trained["vqvae"], sick()) / net.spread
    expected = 1 - ssim_map(phi, phi.flip(0), 5, 1.5).mean(1, keepdim=True)
    found = detector.score(sick())
    assert found.shape == sick().shape
    torch.testing.assert_close(found.mean(), expected.mean(), atol=0.02, rtol=0)


def test_the_network_restores_features_of_any_side_that_its_levels_halve():
    net = FeatureAE(FeatureAEConfig(channels=(8, 12)), 6)
    for side in (4, 8, 12):
        assert net(torch.rand(2, 6, side, side)).shape == (2, 6, side, side)


def test_images_that_its_levels_do_not_halve_are_refused():
    detector = build(FAEOwn, {**SHORT, "autoencoder": {**AE, "channels": (8, 8, 8, 8)}})
    with pytest.raises(
        ConfigError, match="fae-own needs images whose sides are multiples of 64, from 20 on, got 32 x 32"
    ):
        detector.plan(stack(8, 1), stack(8, 2))
