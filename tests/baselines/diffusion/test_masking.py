"""The mask of the latent diffusion detector: threshold, growth, softening."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.ddpm import (
    DDIM,
    DDPM,
    DDPMStepA,
    DDPMStepB,
)
from latent_detectors import detector
from tiny_nets import DIFFUSION_SETTINGS, build, fitted, sick, stack

from adbench.errors import ConfigError


def validation_maps(d) -> np.ndarray:
    """v of the validation images, (40, 8, 8), computed one image at a time."""
    images = stack(40, 2)
    return np.concatenate([d.kl(d.encode(images[i : i + 1]), d.timesteps).numpy() for i in range(40)])


def test_the_threshold_is_the_percentile_of_the_validation_maps_at_each_position(runtime):
    d = detector(DDPM, runtime)
    expected = np.percentile(validation_maps(d), 97.5, axis=0)
    np.testing.assert_allclose(d.limits.numpy(), expected, rtol=1e-4)


def test_the_global_threshold_is_one_percentile_of_all_validation_maps(runtime):
    d = detector(DDPM, runtime, threshold="global", percentile=90.0)
    expected = np.percentile(validation_maps(d), 90.0, method="lower")
    np.testing.assert_allclose(d.limits.numpy(), np.full((8, 8), expected), rtol=1e-4)


def test_smoothing_of_maps_comes_before_the_threshold(runtime):
    plain, smooth = detector(DDPM, runtime), detector(DDPM, runtime, map_sigma=2.0)
    v = torch.from_numpy(validation_maps(plain))
    expected = np.percentile(smooth.smooth(v).numpy(), 97.5, axis=0)
    np.testing.assert_allclose(smooth.limits.numpy(), expected, rtol=1e-4)
    assert float(smooth.limits.std()) < float(plain.limits.std())


def test_about_the_stated_share_of_healthy_latents_is_masked(runtime):
    d, images = detector(DDPM, runtime, percentile=80.0), stack(40, 2)
    share = float(d.mask(d.encode(images[:])).float().mean())
    assert share == pytest.approx(0.2, abs=0.03)


def test_a_value_at_the_threshold_is_in_the_mask(runtime):
    d = detector(DDPM, runtime)
    z = d.encode(sick(1))
    d.limits = d.kl(z, d.timesteps)[0]
    assert bool(d.mask(z).all())
    d.limits = torch.nextafter(d.limits, torch.tensor(torch.inf))
    assert not bool(d.mask(z).any())


def test_growth_dilates_the_mask(runtime):
    d, grown = detector(DDPM, runtime), detector(DDPM, runtime, mask_growth=1)
    z = d.encode(sick())
    mask, larger = d.mask(z), grown.mask(z)
    assert bool(larger[mask].all())
    assert int(larger.sum()) > int(mask.sum())


def test_the_softened_mask_is_1_deep_inside_0_far_away_and_blurs_by_half_the_factor(runtime):
    d, mask = detector(DDPM, runtime), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    soft = d.soften(mask, (32, 32))[0, 0]
    assert soft.shape == (32, 32)
    assert 0 <= soft.min() <= soft.max() <= 1 + 1e-6
    torch.testing.assert_close(soft[:, :6], torch.ones(32, 6), rtol=0, atol=1e-3)
    assert float(soft[:, 26:].max()) < 1e-3
    expected = torch.distributions.Normal(0.0, 2.0).cdf(torch.tensor(0.5))  # sigma f / 2 = 2 px, half a pixel inside
    assert float(soft[16, 15]) == pytest.approx(float(expected), abs=0.01)


def test_too_few_validation_images_are_an_error_before_anything_is_trained():
    for cls in (DDPM, DDPMStepB, DDIM):
        short = build(cls, DIFFUSION_SETTINGS)
        message = r"97\.5th percentile .* at least 40 healthy validation images, got 39\. .* threshold=global"
        with pytest.raises(ConfigError, match=message):
            short.plan(stack(16, 1), stack(39, 2))
        with pytest.raises(ConfigError, match=message):
            short.fit(stack(16, 1), stack(39, 2))
        assert not any(short.runtime.store.root.iterdir())


def test_a_global_threshold_and_step_a_need_no_40_validation_images(runtime):
    fitted(DDPM, {**DIFFUSION_SETTINGS, "threshold": "global"}, runtime, n=5)
    fitted(DDPMStepA, DIFFUSION_SETTINGS, runtime, n=5)
