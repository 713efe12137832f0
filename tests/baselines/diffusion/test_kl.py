"""KL maps: against MONAI's likelihood, and what they must not depend on."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.diffusion.kl import kl_map, noise_at
from adbench_baselines.diffusion.schedule import Schedule, kl_term, q_sample
from adbench_baselines.diffusion.unet import LatentModel, UNetConfig
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler
from tiny_nets import ToyModel

STEPS = [2, 17, 250, 400, 599, 1000]


def monai_scheduler(variance: str = "fixed_small", schedule: Schedule | None = None) -> DDPMScheduler:
    """MONAI's scheduler without clipping; with `schedule`, on its float64 tables instead of its own float32 ones."""
    scheduler = DDPMScheduler(
        1000, "scaled_linear_beta", variance_type=variance, clip_sample=False, beta_start=0.0015, beta_end=0.0195
    )
    if schedule:
        scheduler.betas, scheduler.alphas = schedule.beta[1:], schedule.alpha[1:]
        scheduler.alphas_cumprod = schedule.alpha_bar[1:]
    return scheduler


def monai_maps(model, z, eps, steps, scheduler, monkeypatch) -> list[torch.Tensor]:
    """L_{t-1} maps by MONAI's likelihood, whose t counts from 0 and whose noise is `eps` here."""
    scheduler.timesteps = torch.tensor(steps) - 1
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "randn_like", lambda _: eps)
        _, maps = DiffusionInferer(scheduler).get_likelihood(
            z,
            lambda x, timesteps, context: model(x, timesteps + 1),
            scheduler,
            save_intermediates=True,
            verbose=False,
        )
    return maps


def latents(seed: int = 0, n: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("variance", ["beta_tilde", "beta"])
def test_kl_terms_are_those_of_monais_likelihood(variance, monkeypatch):
    model, z, eps = ToyModel(), latents(), latents(1)
    theirs_is = {"beta_tilde": "fixed_small", "beta": "fixed_large"}[variance]
    maps = monai_maps(model, z, eps, STEPS, monai_scheduler(theirs_is, model.schedule), monkeypatch)
    for t, theirs in zip(STEPS, maps, strict=True):
        eps_theta = model(q_sample(model.schedule, z, t, eps), torch.full((len(z),), t))
        ours = kl_term(model.schedule, eps, eps_theta, t, variance)
        if variance == "beta":  # MONAI gives the posterior the variance beta too; ours is beta_tilde, a constant apart
            ratio = model.schedule.beta_tilde[t] / model.schedule.beta[t]
            ours = ours - 0.5 * (ratio - 1 - ratio.log())
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("t", STEPS)
def test_the_kl_map_of_the_unet_is_monais_likelihood_to_float_error(t, monkeypatch):
    torch.manual_seed(0)
    model = LatentModel(UNetConfig(channels=(8, 8), residual_blocks=1, head_channels=8), 3).eval()
    z = latents(dtype=torch.float32)
    eps = noise_at("KL map", 0, t, z).expand_as(z)
    (theirs,) = monai_maps(model, z, eps, [t], monai_scheduler(), monkeypatch)
    ours = kl_map(model, z, [t], seed=0, variance="beta_tilde", network_batch=8)
    torch.testing.assert_close(ours, theirs.mean(1), rtol=2e-3, atol=1e-6)


def test_the_map_is_the_mean_over_timesteps_and_channels_with_fresh_noise_for_each_t():
    model, z, steps = ToyModel(), latents(), [400, 450, 599]
    total = torch.zeros(3, 8, 8, dtype=torch.float64)
    for t in steps:
        eps = noise_at("KL map", 7, t, z)
        eps_theta = model(q_sample(model.schedule, z, t, eps), torch.tensor([t] * 3))
        total += kl_term(model.schedule, eps.double(), eps_theta, t).mean(1)
    torch.testing.assert_close(
        kl_map(model, z, steps, 7, "beta_tilde", 16).double(), total / len(steps), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("network_batch", [1, 3, 7, 12, 1000])
def test_the_map_depends_neither_on_the_network_batch_nor_on_the_batch(network_batch):
    model, z, steps = ToyModel(), latents(n=5, dtype=torch.float32), list(range(400, 411))
    whole = kl_map(model, z, steps, 0, "beta_tilde", 256)
    again = kl_map(model, z, steps, 0, "beta_tilde", network_batch)
    alone = torch.cat([kl_map(model, z[i : i + 1], steps, 0, "beta_tilde", network_batch) for i in range(5)])
    torch.testing.assert_close(again, whole, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-7)


def test_timesteps_share_network_passes_up_to_the_network_batch():
    model = ToyModel()
    kl_map(model, latents(n=3), list(range(400, 410)), 0, "beta_tilde", network_batch=12)
    assert [len(x_t) for x_t, _ in model.seen] == [12, 12, 6]
    assert torch.cat([t for _, t in model.seen]).tolist() == [t for t in range(400, 410) for _ in range(3)]


def test_noise_is_fresh_for_each_t_and_seed_and_the_same_for_every_image():
    like = torch.zeros(4, 3, 16, 16)
    assert noise_at("KL map", 0, 400, like).shape == (1, 3, 16, 16)
    assert torch.equal(noise_at("KL map", 0, 400, like), noise_at("KL map", 0, 400, like[:1]))
    streams = [(name, seed, t) for name in ("KL map", "start 0") for seed in (0, 1) for t in (400, 401)]
    drawn = torch.stack([noise_at(*stream, like).flatten() for stream in streams])
    correlation = torch.corrcoef(drawn) - torch.eye(len(streams))
    assert correlation.abs().max() < 0.15
    assert drawn.std() == pytest.approx(1, abs=0.1)


def test_noise_is_the_same_whatever_the_global_generator_holds():
    like = torch.zeros(1, 8, 32, 32)
    torch.manual_seed(1)
    first = noise_at("KL map", 3, 5, like)
    torch.manual_seed(2)
    assert torch.equal(first, noise_at("KL map", 3, 5, like))
