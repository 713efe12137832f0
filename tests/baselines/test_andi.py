"""ANDi: differences of backward means, their geometric mean, and the detector."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.andi import ANDi, ANDiConfig, PyramidNet, differences
from adbench_baselines.diffusion.kl import noise_at
from adbench_baselines.diffusion.pixels import centred
from adbench_baselines.diffusion.schedule import posterior_mean, predict_x_0, q_sample
from adbench_baselines.images.filters import median
from tiny_nets import Oracle, ToyModel, fitted, sick

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

SHORT = {
    "channels": (8, 8), "patch_px": 2, "steps": 6, "batch_size": 8, "t_last": 300, "timesteps": 4, "median_px": 1,
}  # fmt: skip


@pytest.mark.parametrize("network_batch", [1, 7, 1000])
def test_a_difference_is_the_square_of_that_between_the_two_posterior_means(network_batch):
    model, x_0 = ToyModel(1), torch.randn(3, 1, 8, 8, generator=stream("x_0", 0))
    found = dict(differences(model, x_0, [2, 75, 199], 0, network_batch))
    assert list(found) == [2, 75, 199]
    for t, d in found.items():
        x_t = q_sample(model.schedule, x_0, t, noise_at("KL map", 0, t, x_0))
        x_0_hat = predict_x_0(model.schedule, x_t, t, model(x_t, torch.full((3,), t)))
        means = [posterior_mean(model.schedule, x, x_t, t) for x in (x_0, x_0_hat)]
        torch.testing.assert_close(d, (means[0] - means[1]).square()[:, 0], atol=1e-7, rtol=1e-2)


def test_the_score_is_the_geometric_mean_over_t():
    detector, images = fitted(ANDi, SHORT), sick()
    maps = [d for _, d in differences(detector.net, centred(images), detector.times, 0, 1000)]
    expected = torch.stack(maps).double().prod(0) ** (1 / len(maps))
    torch.testing.assert_close(detector.score(images)[:, 0], expected.float(), atol=1e-12, rtol=1e-3)


def test_the_healthy_image_itself_scores_least_where_the_network_knows_it():
    detector, images = fitted(ANDi, SHORT), sick()
    oracle = Oracle(centred(images[:1]))
    oracle.schedule = detector.net.schedule
    detector.trained["andi"] = oracle
    scores = detector.score(images).flatten(1).mean(1)
    assert float(scores[0]) < 1e-6 * float(scores[1:].min())


def test_scores_are_median_filtered():
    runtime = Runtime()
    raw, smooth = (fitted(ANDi, {**SHORT, "median_px": side}, runtime).score(sick()) for side in (1, 5))
    torch.testing.assert_close(smooth, median(raw, 5))


def test_values_of_t_are_those_of_the_paper_by_default():
    config = ANDiConfig()
    times = list(range(config.t_low, config.t_high))
    assert (times[0], times[-1], len(times)) == (75, 199, config.timesteps)


@pytest.mark.parametrize(("noise", "white"), [("pyramid", False), ("gaussian", True)])
def test_the_network_learns_the_noise_that_is_asked_for(noise, white):
    eps = PyramidNet(ANDiConfig(**{**SHORT, "training_noise": noise})).draw(64, (32, 32), stream("noise", 0))
    assert (abs(float((eps[..., 1:] * eps[..., :-1]).mean())) < 0.05) == white


def test_how_it_scores_shares_the_trained_network():
    runtime = Runtime()
    part = fitted(ANDi, SHORT, runtime).artifacts()
    other = fitted(ANDi, {**SHORT, "t_low": 10, "t_high": 250, "timesteps": 7, "median_px": 3}, runtime)
    assert other.artifacts() == part
    assert other.passes == {"differences": 7}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"t_low": 200}, "t_low < t_high is needed, got 200 and 200"),
        ({"median_px": 4}, "median_px must be odd, got 4"),
        ({"t_last": 150}, "t_high - 1=199 is beyond the steps that the network is trained on, 1 to 150"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ANDiConfig(**settings)
