"""The Mahalanobis map, against the covariance matrix itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.images.covariance import mahalanobis_map

from adbench.training.streams import stream


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("ridge", [1e-2, 1.0])
def test_it_is_the_product_with_the_inverse_of_the_whole_covariance(k, ridge):
    images = torch.rand(3, 1, 6, 8, generator=stream("images", 0))
    samples = torch.rand(k, 3, 1, 6, 8, generator=stream("samples", k))
    found = mahalanobis_map(images, samples, ridge)
    for i in range(3):
        flat = samples[:, i].flatten(1).double().numpy()
        d = images[i].flatten().double().numpy() - flat.mean(0)
        products = d * np.linalg.solve(np.cov(flat.T) + ridge * np.eye(48), d)
        np.testing.assert_allclose(found[i].flatten(), np.sqrt(products.clip(0)), atol=1e-5)


def test_where_samples_agree_it_is_the_residual_over_the_root_of_the_ridge():
    images, sample = torch.rand(2, 2, 1, 5, 5, generator=stream("images", 1))
    found = mahalanobis_map(images, sample.expand(4, *sample.shape), 0.01)
    torch.testing.assert_close(found, (images - sample).abs() / 0.1, atol=1e-4, rtol=1e-4)


def test_a_residual_along_what_varies_anyway_counts_less():
    direction = torch.zeros(1, 1, 4, 4)
    direction[..., :2, :] = 1.0
    samples = torch.stack([direction * w for w in (-1.0, -0.5, 0.0, 0.5, 1.0)])
    known, unknown = (
        mahalanobis_map(0.3 * direction, samples, 0.01),
        mahalanobis_map(0.3 * (1 - direction), samples, 0.01),
    )
    assert float(known.max()) < 0.3 * float(unknown.max())
