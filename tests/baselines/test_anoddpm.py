"""AnoDDPM: partial diffusion and back, against known noise models, and the detector."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.anoddpm import AnoDDPM, AnoDDPMConfig
from adbench_baselines.diffusion.pixels import FieldNet, centred, restored
from adbench_baselines.diffusion.schedule import posterior_mean, predict_x_0, q_sample
from tiny_nets import Oracle, fitted, sick

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

SHORT = {
    "channels": (8, 8),
    "patch_px": 2,
    "steps": 6,
    "batch_size": 8,
    "start_t": 20,
    "t_last": 30,
    "reverse_steps": 5,
}


@pytest.mark.parametrize("noise", ["simplex", "gaussian"])
def test_a_network_that_knows_one_healthy_image_leads_every_image_back_to_it(noise):
    detector, images = fitted(AnoDDPM, {**SHORT, "noise": noise}), sick()
    healthy = torch.rand(1, 1, 32, 32, generator=stream("healthy", 0))
    oracle = Oracle(centred(healthy))
    oracle.schedule = detector.net.schedule
    detector.trained["anoddpm"] = oracle
    torch.testing.assert_close(detector.score(images), (images - healthy).square(), atol=1e-4, rtol=1e-3)


def test_with_all_steps_the_reverse_process_is_that_of_ddpm_with_simplex_noise_of_its_own_at_every_step():
    """Each step draws from the posterior of the estimate of x_0, kept in [-1, 1]."""
    detector, images = fitted(AnoDDPM, {**SHORT, "reverse_steps": 20}), centred(sick())
    net, tables = detector.net, detector.net.schedule
    x = q_sample(tables, images, 20, detector.noise_at("start", 20, images))
    for t in range(20, 0, -1):
        x_0 = predict_x_0(tables, x, t, net(x, torch.full((len(x),), t))).clamp(-1, 1)
        spread = float(tables.beta_tilde[t]) ** 0.5
        x = posterior_mean(tables, x_0, x, t) + spread * detector.noise_at("step", t, x)
    torch.testing.assert_close(detector.reversed(images), x, atol=1e-4, rtol=1e-3)
    fields = torch.cat([detector.noise_at("step", t, x) for t in range(1, 21)])
    assert not torch.equal(fields[0], fields[1])
    rough, smooth = (fields[..., gap:] - fields[..., :-gap] for gap in (8, 1))
    assert float(smooth.square().mean()) < float(rough.square().mean())  # neighbours are alike: no white noise


def test_the_first_wavelength_is_a_quarter_of_the_side_so_64_px_of_256():
    config = AnoDDPMConfig()
    assert (config.octaves, config.persistence, config.wavelength * 256) == (6, 0.8, 64)
    assert (config.start_t, config.diffusion_steps) == (250, 1000)


@pytest.mark.parametrize(("noise", "white"), [("simplex", False), ("gaussian", True)])
def test_training_adds_the_noise_that_is_asked_for(noise, white, monkeypatch):
    net, seen = FieldNet(AnoDDPMConfig(**{**SHORT, "noise": noise})), []
    monkeypatch.setattr(net, "steps", lambda n, generator: torch.full((n,), 30))
    monkeypatch.setattr(net, "forward", lambda x, t: seen.append(x) or x)
    images = torch.full((64, 1, 32, 32), 0.5)  # 0 when centred: x_t is the noise
    net.losses(images, stream("training", 0))
    x = seen[0] / seen[0].std()
    alike = float((x[..., 1:] * x[..., :-1]).mean())
    assert (abs(alike) < 0.05) == white


def test_training_draws_no_step_beyond_the_last():
    net = FieldNet(AnoDDPMConfig(**SHORT))
    drawn = net.steps(2000, stream("steps", 0))
    assert set(drawn.tolist()) == set(range(1, 31))


def test_scores_are_squared_residuals_in_units_of_the_image():
    detector, images = fitted(AnoDDPM, SHORT), sick()
    x_hat = restored(detector.reversed(centred(images)))
    assert torch.equal(detector.score(images), (images - x_hat).square())


def test_how_far_an_image_is_diffused_shares_the_trained_network_and_the_noise_does_not():
    runtime = Runtime()
    part = fitted(AnoDDPM, SHORT, runtime).artifacts()
    assert fitted(AnoDDPM, {**SHORT, "start_t": 10, "reverse_steps": 2}, runtime).artifacts() == part
    assert fitted(AnoDDPM, {**SHORT, "noise": "gaussian"}, runtime).artifacts() != part


def test_a_start_that_the_network_does_not_know_is_refused():
    with pytest.raises(ValueError, match="start_t=250 is beyond the steps that the network is trained on, 1 to 200"):
        AnoDDPMConfig(t_last=200)
    with pytest.raises(ValueError, match="t_last <= T is needed, got 2000 and T = 1000"):
        AnoDDPMConfig(t_last=2000)
