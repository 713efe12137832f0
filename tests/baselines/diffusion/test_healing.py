"""Healing: what it leaves alone, what it changes, and that it restores a latent which the model knows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from adbench_baselines.diffusion import healing
from adbench_baselines.diffusion.healing import HealingOptions
from adbench_baselines.diffusion.schedule import q_sample
from tiny_nets import Oracle, ToyModel

CASES = list(itertools.product(["clean", "noised"], ["noised", "noise", "mean"], ["ddpm", "ddim"]))
every_case = pytest.mark.parametrize(("context", "start", "sampler"), CASES)


def options(context="noised", start="noise", sampler="ddim", start_t=60, steps=6, variance="beta_tilde"):
    return HealingOptions(start_t, steps, sampler, context, start, variance)


def heal(model, z_0, mask, options, seed):
    """Healing, with the mean of healthy latents where it begins there."""
    mean = latents(1) / 2 if options.start == "mean" else None
    return healing.heal(model, z_0, mask, options, seed, mean=mean)


def latents(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(2))


def square(n: int = 3) -> torch.Tensor:
    mask = torch.zeros(n, 1, 6, 6, dtype=torch.bool)
    mask[:, :, 2:4, 1:4] = True
    return mask


@every_case
def test_healing_changes_the_inside_of_the_mask_and_nothing_else(context, start, sampler):
    z_0, mask = latents(), square()
    healed = heal(ToyModel(), z_0, mask, options(context, start, sampler), seed=0)
    inside = mask.expand_as(z_0)
    assert torch.equal(healed[~inside], z_0[~inside])
    assert bool((healed[inside] != z_0[inside]).all())
    assert bool(healed.isfinite().all())


@every_case
def test_healing_restores_a_latent_that_the_model_knows(context, start, sampler):
    healthy, mask = latents(1), square()
    broken = torch.where(mask, healthy + 3, healthy.expand(3, -1, -1, -1))
    healed = heal(Oracle(healthy), broken, mask, options(context, start, sampler), seed=0)
    torch.testing.assert_close(healed, healthy.expand_as(healed), rtol=0, atol=2e-4)


@every_case
def test_healing_is_deterministic_and_the_seed_decides(context, start, sampler):
    chosen = options(context, start, sampler)
    first, second, other = (heal(ToyModel(), latents(), square(), chosen, seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@every_case
def test_healing_an_image_does_not_depend_on_its_batch(context, start, sampler):
    chosen, z_0 = options(context, start, sampler), latents()
    whole = heal(ToyModel(), z_0, square(), chosen, seed=0)
    alone = torch.cat([heal(ToyModel(), z_0[i : i + 1], square(1), chosen, seed=0) for i in range(3)])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-5)


def test_an_empty_mask_leaves_every_latent_as_it_was():
    z_0 = latents()
    assert torch.equal(heal(ToyModel(), z_0, torch.zeros_like(z_0[:, :1], dtype=torch.bool), options(), 0), z_0)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_resampling_takes_each_step_again_and_still_restores_what_the_model_knows(sampler):
    once, thrice = options(sampler=sampler), replace(options(sampler=sampler), resamplings=3)
    assert thrice.passes == 3 * once.passes
    model, z_0, mask = ToyModel(), latents(), square()
    healed = heal(model, z_0, mask, thrice, seed=0)
    assert len(model.seen) == thrice.passes
    assert not torch.equal(healed, heal(ToyModel(), z_0, mask, once, seed=0))
    assert torch.equal(healed[~mask.expand_as(z_0)], z_0[~mask.expand_as(z_0)])
    healthy = latents(1)
    broken = torch.where(mask, healthy + 3, healthy.expand(3, -1, -1, -1))
    found = heal(Oracle(healthy), broken, mask, thrice, seed=0)
    torch.testing.assert_close(found, healthy.expand_as(found), rtol=0, atol=2e-4)


@pytest.mark.parametrize(("sampler", "passes"), [("ddpm", 500), ("ddim", 50)])
def test_the_paper_s_healing_takes_500_passes_by_ddpm_and_50_by_ddim(sampler, passes):
    model, chosen = ToyModel(), options(sampler=sampler, start_t=500, steps=50)
    heal(model, latents(1), square(1), chosen, seed=0)
    assert len(model.seen) == chosen.passes == passes
    visited = [int(t) for _, t in model.seen]
    assert visited == list(range(500, 0, -500 // passes))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_clean_context_is_z_0_at_every_step(sampler):
    model, z_0, outside = ToyModel(), latents(), ~square().expand(-1, 3, -1, -1)
    heal(model, z_0, square(), options("clean", "noise", sampler), seed=0)
    assert all(torch.equal(x_t[outside], z_0[outside]) for x_t, _ in model.seen)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_a_noised_context_is_z_0_at_the_level_of_each_step_with_noise_shared_by_the_images(sampler):
    model, z_0, outside = ToyModel(), latents(), ~square()[:1].expand(-1, 3, -1, -1)[0]
    heal(model, z_0, square(), options("noised", "noise", sampler), seed=0)
    noises = []
    for x_t, t in model.seen:
        alpha_bar = model.schedule.alpha_bar[t[0]].float()
        eps = ((x_t - alpha_bar.sqrt() * z_0) / (1 - alpha_bar).sqrt())[:, outside]
        torch.testing.assert_close(eps, eps[:1].expand_as(eps), rtol=1e-3, atol=1e-3)
        noises.append(eps[0])
    apart = torch.corrcoef(torch.stack(noises)) - torch.eye(len(noises))
    assert apart.abs().max() < 0.6  # 90 values a step: drawn anew at each
    assert torch.cat(noises).std() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("context", ["clean", "noised"])
def test_the_start_inside_the_mask_is_noise_or_at_the_first_level_z_0_or_the_mean(context):
    z_0, inside, first = latents(), square().expand(-1, 3, -1, -1), {}
    for start in ("noise", "noised", "mean"):
        model = ToyModel()
        heal(model, z_0, square(), options(context, start), seed=0)
        first[start] = model.seen[0][0]
    noise = first["noise"]
    assert torch.equal(noise[0][inside[0]], noise[1][inside[1]])  # no trace of the image
    torch.testing.assert_close(first["noised"][inside], q_sample(model.schedule, z_0, 60, noise)[inside])
    mean = (latents(1) / 2).expand_as(z_0)
    torch.testing.assert_close(first["mean"][inside], q_sample(model.schedule, mean, 60, noise)[inside])
