"""Controls: what they score, against independent references, and that a random map's AUPRC is the prevalence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.controls import (
    HealthyMean,
    HealthyZScore,
    Intensity,
    IntensityEqualised,
    Random,
    background_level,
)
from adbench_baselines.images import moments
from adbench_baselines.vqvae_residual import VQVAEResidual
from scipy.stats import rankdata
from tiny_nets import SIDE, VQVAE_SETTINGS, build, fitted, sick, stack

from adbench.contracts.detector import Images, Runtime
from adbench.errors import ConfigError
from adbench.metrics.pixels import pixel_metrics
from adbench.testing import toy_split


def test_intensity_scores_the_image_itself():
    images = sick()
    scores = build(Intensity, {}).score(images)
    assert torch.equal(scores, images)
    assert scores.data_ptr() != images.data_ptr()


def test_random_draws_a_uniform_map_for_every_image_from_the_seed_and_its_pixels():
    images = sick()
    scores = build(Random, {}, Runtime(seed=4)).score(images)
    assert len(torch.unique(scores.flatten(1), dim=0)) == len(torch.unique(images.flatten(1), dim=0)) > 1
    assert torch.equal(scores[1:], build(Random, {}, Runtime(seed=4)).score(images[1:]))
    assert torch.equal(scores, build(Random, {}, Runtime(seed=4)).score(images))
    assert not torch.equal(scores, build(Random, {}, Runtime(seed=5)).score(images))
    assert 0 <= scores.min() < 0.01
    assert 0.99 < scores.max() <= 1


def test_the_auprc_of_a_random_map_is_the_prevalence():
    split = toy_split(60, 64, 3, lesions=True)
    scores = build(Random, {}).score(torch.from_numpy(split.images)).numpy()
    metrics = pixel_metrics(lambda: [(split.subjects[i], scores[i], split[i].lesion, None) for i in range(60)])
    assert metrics.auprc == pytest.approx(metrics.prevalence, rel=0.15)
    assert metrics.auroc == pytest.approx(0.5, abs=0.03)


def test_random_image_scores_are_uniform_and_follow_the_image_not_its_place():
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    control = build(Random, {})
    scores = control.image_scores(images)
    assert torch.equal(control.image_scores(images.flip(0)), scores.flip(0))
    assert len(scores.unique()) == 200
    assert float(scores.mean()) == pytest.approx(0.5, abs=0.1)


def test_the_vqvae_residual_is_the_distance_to_the_reconstruction():
    control, images = fitted(VQVAEResidual, {"vqvae": VQVAE_SETTINGS}), sick()
    x_hat = control.trained["vqvae"].decode(control.trained["vqvae"].encode(images))
    assert torch.equal(control.score(images), (images - x_hat).abs())
    assert control.parameters() == sum(p.numel() for p in control.trained["vqvae"].parameters()) > 0


def heads(background: float) -> torch.Tensor:
    """Return 3 images (3, 1, 16, 16): tissue of 12 grey levels, so that many tie, on a noisy background."""
    rng = np.random.default_rng(0)
    images = background + rng.integers(0, 3, (3, 1, 16, 16)) * 0.01
    images[..., 3:13, 4:12] = 0.3 + 0.05 * rng.integers(0, 12, (3, 1, 10, 8))
    return torch.from_numpy(images.astype(np.float32))


@pytest.mark.parametrize("background", [0.0, 0.1])
def test_equalised_intensity_is_the_rank_among_the_foreground_of_the_image(background):
    images = heads(background)
    scores = build(IntensityEqualised, {}).score(images)
    for image, found in zip(images.numpy(), scores.numpy(), strict=True):
        tissue = image[0, 3:13, 4:12]
        ranks = rankdata(tissue, method="max").reshape(tissue.shape) / tissue.size
        np.testing.assert_allclose(found[0, 3:13, 4:12], ranks, rtol=1e-6)
    scores[..., 3:13, 4:12] = 0
    assert torch.equal(scores, torch.zeros_like(scores)), "the background scores 0"


@pytest.mark.parametrize("transform", [torch.sqrt, torch.square, lambda x: 0.2 + x / 100])
def test_equalised_intensity_depends_on_the_order_of_foreground_intensities_alone(transform):
    images, control = heads(0.0), build(IntensityEqualised, {})
    changed = torch.where(images > 0.2, transform(images), images)
    assert torch.equal(control.score(changed), control.score(images))


def test_the_background_is_the_most_frequent_level_even_beside_darker_pixels():
    images = heads(0.1)
    images[:, :, :4, :4] = 0  # a dark artefact, as a sprite of value 0 would be
    assert background_level(images).flatten().tolist() == pytest.approx([0.11] * 3, abs=0.02)
    assert float(build(IntensityEqualised, {}).score(images)[:, :, :3].max()) == 0


def test_an_image_without_foreground_scores_0():
    scores = build(IntensityEqualised, {}).score(torch.full((2, 1, 8, 8), 0.5))
    assert torch.equal(scores, torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("batch", [5, 256])
def test_distance_and_z_score_are_to_the_moments_of_the_healthy_images(monkeypatch, batch):
    monkeypatch.setattr(moments, "BATCH", batch)  # 16 images: three whole batches and a partial one, or one
    healthy, images = stack(16, 1)[:].double().numpy(), sick()
    distance = np.abs(images.double().numpy() - healthy.mean(0))
    mean, z_score = fitted(HealthyMean, {}), fitted(HealthyZScore, {"floor": 0.02})
    np.testing.assert_allclose(mean.score(images).numpy(), distance, atol=1e-6)
    np.testing.assert_allclose(z_score.score(images).numpy(), distance / (healthy.std(0) + 0.02), rtol=1e-3, atol=1e-5)


def test_the_spread_is_exact_where_it_is_tiny_beside_the_mean():
    array = np.full((5000, 1, 2, 2), 0.9, np.float32)
    array[::2] += np.float32(1e-4)
    std = moments.moments(Images(array, "two values"), lambda batch: batch, "", lambda *_: None)[1]
    np.testing.assert_allclose(std.numpy(), array.astype(float).std(0, keepdims=True), rtol=1e-4)


def test_a_constant_pixel_has_a_finite_z_score():
    control = build(HealthyZScore, {"floor": 0.1})
    constant = Images(np.full((10, 1, SIDE, SIDE), 0.3, np.float32), "constant")
    control.fit(constant, constant)
    scores = control.score(torch.full((1, 1, SIDE, SIDE), 0.5))
    torch.testing.assert_close(scores, torch.full((1, 1, SIDE, SIDE), 2.0))


def test_progress_of_the_mean_is_reported_to_its_end():
    seen = []
    fitted(HealthyMean, {}, Runtime(progress=lambda what, done, total: seen.append((what, done, total))))
    assert seen == [("healthy mean", 1, 1)]


@pytest.mark.parametrize(("control", "field"), [(HealthyZScore, "floor"), (IntensityEqualised, "background_margin")])
def test_a_value_out_of_range_is_refused(control, field):
    with pytest.raises(ConfigError, match=field):
        build(control, {field: -0.1})
