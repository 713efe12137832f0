"""THOR: the maps, the morphology against SciPy, harmonisation with networks that are known, and the detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adbench_baselines.diffusion.pixels import centred
from adbench_baselines.thor import Thor, ThorConfig, anomaly, odd, region
from scipy.ndimage import grey_closing, grey_dilation
from scipy.stats import hmean
from tiny_nets import Oracle, fitted, sick

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

SHORT = {
    "channels": (8, 8),
    "patch_px": 2,
    "steps": 6,
    "batch_size": 8,
    "start_t": 35,
    "t_last": 40,
    "reverse_steps": 7,
    "harmonised_at": (30, 15, 5),
    "map_every": 5,
}


def with_oracle(healthy: torch.Tensor, **settings: object) -> Thor:
    """A detector whose network takes every image for this one."""
    detector = fitted(Thor, {**SHORT, **settings})
    oracle = Oracle(centred(healthy))
    oracle.schedule = detector.net.schedule
    detector.trained["thor"] = oracle
    return detector


def test_regions_are_those_of_the_authors_morphology():
    maps = torch.rand(2, 1, 24, 20, generator=stream("maps", 0))
    closed = grey_closing(maps.numpy(), (1, 1, 5, 5), mode="nearest")
    expected = (grey_dilation(closed, (1, 1, 5, 5), mode="nearest") + maps.numpy()) / 2
    np.testing.assert_allclose(region(maps, 5).numpy(), expected.clip(0, 1), atol=1e-6)


def test_maps_lie_between_0_and_1_and_are_0_where_nothing_differs():
    images = sick()
    assert torch.equal(anomaly(images, images), torch.zeros_like(images))
    maps = anomaly(images, images.flip(-1))
    assert float(maps.min()) >= 0
    torch.testing.assert_close(maps.amax((1, 2, 3)), torch.ones(len(images)))


def test_the_score_is_the_harmonic_mean_of_the_maps():
    detector, images = fitted(Thor, SHORT), sick()
    maps = [map_.double().numpy() + 1e-8 for map_ in detector.maps(images)]
    assert len(maps) == 6
    np.testing.assert_allclose(detector.score(images).numpy(), hmean(np.stack(maps), axis=0), rtol=1e-3, atol=1e-6)


def test_with_a_network_that_knows_the_healthy_image_every_map_is_that_of_the_lesion():
    images = sick()
    healthy = torch.rand(1, 1, 32, 32, generator=stream("healthy", 0))
    expected = anomaly(images, healthy.expand_as(images))
    for map_ in with_oracle(healthy).maps(images):
        torch.testing.assert_close(map_, expected, atol=1e-3, rtol=1e-2)


def test_what_is_put_back_is_the_image_but_where_it_is_anomalous(monkeypatch):
    """After the last harmonisation, which the step to 0 follows at once, nothing but the mixture is left."""
    import adbench_baselines.thor as module

    images, seen = sick(), []
    healthy = torch.rand(1, 1, 32, 32, generator=stream("healthy", 0))
    detector = with_oracle(healthy, harmonised_at=(5,))
    real = module.q_sample
    monkeypatch.setattr(
        module, "q_sample", lambda schedule, x, t, eps: seen.append((x, t)) or real(schedule, x, t, eps)
    )
    detector.maps(images)
    (_, start), (mixed, t) = seen
    assert (start, t) == (35, 0)
    m_t = region(anomaly(images, healthy.expand_as(images)), odd(ThorConfig().reach * 32))
    torch.testing.assert_close(mixed, m_t * centred(healthy) + (1 - m_t) * centred(images), atol=1e-2, rtol=1e-2)


def test_times_are_the_papers_and_those_of_a_shorter_way_lie_on_it():
    config = ThorConfig()
    assert sorted(config.harmonised) == [50, 150, 300]
    assert sorted(config.mapped) == [1, 50, 100, 150, 200, 250, 300]
    assert ThorConfig(reverse_steps=7).harmonised == {300, 150, 50}
    assert ThorConfig(reverse_steps=3).harmonised <= {t for t, _ in ThorConfig(reverse_steps=3).path}


@pytest.mark.parametrize(("side", "square"), [(128, 13), (64, 7), (32, 3)])
def test_the_squares_are_13_px_of_128(side, square):
    assert abs(odd(ThorConfig().reach * side) - ThorConfig().reach * side) <= 1
    assert odd(ThorConfig().reach * side) == square


def test_how_an_image_is_led_back_shares_the_trained_network_and_the_noise_does_not():
    runtime = Runtime()
    part = fitted(Thor, SHORT, runtime).artifacts()
    other = {**SHORT, "start_t": 20, "harmonised_at": (10,), "map_every": 3, "reverse_steps": 4}
    assert fitted(Thor, other, runtime).artifacts() == part
    assert fitted(Thor, {**SHORT, "noise": "simplex"}, runtime).artifacts() != part


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"t_last": 200}, "start_t=350 is beyond the steps that the network is trained on, 1 to 200"),
        ({"harmonised_at": (400,)}, "harmonised_at must lie between 0 and start_t=350"),
    ],
)
def test_times_outside_of_the_chain_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        ThorConfig(**settings)
