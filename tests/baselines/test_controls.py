"""Controls: what they score, and that a random map's AUPRC is the prevalence."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.controls import Intensity, Random
from adbench_baselines.vqvae_residual import VQVAEResidual
from tiny_nets import VQVAE_SETTINGS, build, fitted, sick

from adbench.detector import Runtime
from adbench.metrics import ScoreHistogram, pixel_metrics
from adbench.testing import toy_split


def test_intensity_scores_the_image_itself():
    images = sick()
    scores = build(Intensity, {}).score(images)
    assert torch.equal(scores, images)
    assert scores.data_ptr() != images.data_ptr()


def test_random_draws_one_uniform_map_for_every_image_from_the_seed():
    images = sick()
    scores = build(Random, {}, Runtime(seed=4)).score(images)
    assert torch.equal(scores, scores[:1].expand_as(scores))
    assert torch.equal(scores, build(Random, {}, Runtime(seed=4)).score(images))
    assert not torch.equal(scores, build(Random, {}, Runtime(seed=5)).score(images))
    assert 0 <= scores.min() < 0.01
    assert 0.99 < scores.max() <= 1


def test_the_auprc_of_a_random_map_is_the_prevalence():
    split, histogram = toy_split(60, 64, 3, lesions=True), ScoreHistogram()
    scores = build(Random, {}).score(torch.from_numpy(split.images)).numpy()
    for i in range(60):
        histogram.add(split.subjects[i], scores[i], split[i].lesion)
    metrics = pixel_metrics(histogram)
    assert metrics.auprc == pytest.approx(histogram.prevalence, rel=0.15)
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
    x_hat = control.model.decode(control.model.encode(images))
    assert torch.equal(control.score(images), (images - x_hat).abs())
    assert control.parameters() == sum(p.numel() for p in control.model.parameters()) > 0
