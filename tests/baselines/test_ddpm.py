"""The latent diffusion detector: its four steps, its threshold, its network passes, and the parts that it shares."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.ddpm import (
    DDIM,
    DDIMF8,
    DDPM,
    DDPMF8,
    DDPMStepA,
    DDPMStepAF8,
    DDPMStepB,
    DDPMStepBF8,
)
from adbench_baselines.diffusion import masking
from adbench_baselines.diffusion.unet import LatentModel
from adbench_baselines.kl_map import KLMap
from adbench_baselines.vqvae_residual import VQVAEResidual
from latent_detectors import detector
from scipy import ndimage
from tiny_nets import DIFFUSION_SETTINGS, LATENT_SETTINGS, UNET_SETTINGS, VQVAE_SETTINGS, build, fitted, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError
from adbench.training.part import TrainedPart

VQVAE_ONLY = {"vqvae": VQVAE_SETTINGS}

LOW = {"percentile": 60.0}
"""Flags much of every image, so that there is something to compare."""


def test_step_a_scores_the_residual_to_the_whole_healed_latent(runtime):
    a, images = detector(DDPMStepA, runtime), sick()
    everything = torch.ones(4, 1, 8, 8, dtype=torch.bool)
    healed = masking.heal(a.model, a.encode(images), everything, a.healing, 0)
    expected = (images - a.vqvae.decode(a.model.restore(healed))).abs()
    assert torch.equal(a.score(images), expected)
    assert a.limits is None


def test_step_b_is_the_mask_times_the_residual_of_step_a(runtime):
    a, b, images = detector(DDPMStepA, runtime), detector(DDPMStepB, runtime, **LOW), sick()
    mask = b.mask(b.encode(images))
    assert 0 < float(mask.float().mean()) < 1
    torch.testing.assert_close(b.score(images), b.soften(mask, images.shape[-2:]) * a.score(images))


def test_step_c_heals_the_mask_alone(runtime):
    c, images = detector(DDPM, runtime, **LOW), sick()
    z = c.encode(images)
    mask = c.mask(z)
    healed = masking.heal(c.model, z, mask, c.healing, 0)
    assert torch.equal(healed[~mask.expand_as(z)], z[~mask.expand_as(z)])
    residual = (images - c.vqvae.decode(c.model.restore(healed))).abs()
    torch.testing.assert_close(c.score(images), c.soften(mask, images.shape[-2:]) * residual)
    assert not torch.equal(c.score(images), detector(DDPMStepB, runtime, **LOW).score(images))


def test_step_d_is_step_c_by_ddim_on_50_timesteps():
    c, d = build(DDPM, {}).config, build(DDIM, {}).config
    assert (c.step, c.sampler, c.kl_timesteps) == ("c", "ddpm", 200)
    changed = {key for key, value in d.model_dump().items() if value != c.model_dump()[key]}
    assert changed == {"sampler", "kl_timesteps", "healing_steps"}
    assert (d.sampler, d.kl_timesteps, d.healing_steps) == ("ddim", 50, 50)


def test_the_defaults_are_the_papers():
    c = build(DDPM, {}).config
    assert (c.t_low, c.t_high, c.percentile, c.threshold, c.start_t) == (400, 600, 97.5, "position", 500)
    assert (c.unet.diffusion_steps, c.variance, c.vqvae.factor, c.image_timesteps) == (1000, "beta_tilde", 4, 1000)
    assert build(DDPM, {}).timesteps == list(range(400, 600))


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Sizes of the batches that the UNet was given."""
    sizes: list[int] = []
    original = LatentModel.forward

    def forward(self, x_t, t):
        sizes.append(len(x_t))
        return original(self, x_t, t)

    monkeypatch.setattr(LatentModel, "forward", forward)
    return sizes


@pytest.mark.parametrize(("cls", "kl", "heal"), [(DDPM, 200, 500), (DDIM, 50, 50)])
def test_one_batch_takes_the_network_passes_that_the_paper_states(cls, kl, heal, runtime, monkeypatch):
    """(c) takes 200 + 500 and (d) 50 + 50, each of the whole batch."""
    full = {"unet": {**UNET_SETTINGS, "diffusion_steps": 1000}, "vqvae": VQVAE_SETTINGS, "network_batch": 2}
    d = fitted(cls, {**full, "threshold": "global"}, runtime, n=2)
    assert dict(d.plan(stack(16, 1), stack(2, 2)).passes) == {"kl_map": kl, "heal": heal}
    passes: list[int] = []

    def forward(self, x_t, t):
        passes.append(len(x_t))
        return torch.zeros_like(x_t)

    monkeypatch.setattr(LatentModel, "forward", forward)
    d.runtime.clock.running = True
    d.runtime.clock.reset()
    d.score(sick(2))
    d.runtime.clock.running = False
    assert passes == [2] * (kl + heal)
    assert {name: n for name, n in d.runtime.clock.passes.items() if n} == {"kl_map": kl, "heal": heal}
    passes.clear()
    d.shortened(20).score(sick(2))
    assert passes == [2] * (20 + 20), "passes of the same batch, for timing"


def test_image_scores_average_the_kl_over_the_whole_chain(runtime, passes):
    thin = fitted(KLMap, LATENT_SETTINGS, runtime)
    whole = fitted(KLMap, {**LATENT_SETTINGS, "image_timesteps": 1000, "network_batch": 4}, runtime)
    passes.clear()
    scores = whole.image_scores(sick(4))
    assert passes == [4] * 39  # t = 2..40
    expected = whole.kl(whole.encode(sick(4)), range(2, 41)).mean((1, 2))
    torch.testing.assert_close(scores, expected)
    passes.clear()
    thin.image_scores(sick(4))
    assert sum(passes) == 4 * 4


def test_all_methods_share_one_vqvae_one_unet_and_their_validation_maps(monkeypatch):
    made, original = [], TrainedPart.make
    monkeypatch.setattr(TrainedPart, "make", lambda part, *a: (made.append(part.kind), original(part, *a))[1])
    shared = Runtime()
    for cls in (DDPMStepA, DDPMStepB, DDPM, DDIM):
        detector(cls, shared, kl_timesteps=16 if cls is not DDIM else 4)
    fitted(KLMap, LATENT_SETTINGS, shared)
    fitted(VQVAEResidual, VQVAE_ONLY, shared)
    assert made == ["vqvae", "unet"]
    kinds = sorted(path.name.rsplit("-", 1)[0] for path in shared.store.root.iterdir())
    assert kinds == ["kl-maps", "kl-maps", "unet", "vqvae"]  # maps of 16 and of 4 timesteps


def test_settings_of_scoring_alone_train_nothing_anew(runtime):
    first = detector(DDPM, runtime)
    for change in ({"start_t": 9}, {"context": "clean"}, {"start": "noised"}, {"percentile": 90.0}, {"map_sigma": 1.0}):
        assert detector(DDPM, runtime, **change).artifacts() == first.artifacts()


def test_a_part_s_key_changes_with_its_config_seed_and_data(runtime):
    keys = {
        tuple(part.spec.key for part in build(DDPM, {**DIFFUSION_SETTINGS, **change}, Runtime(seed=seed))
              .plan(stack(16, data), stack(40, 2)).parts)
        for change, seed, data in (
            ({}, 0, 1),
            ({}, 1, 1),
            ({}, 0, 9),
            ({"vqvae": {**VQVAE_SETTINGS, "steps": 21}}, 0, 1),
        )
    }  # fmt: skip
    assert len({key for chain in keys for key in chain}) == 12
    unet_only = {**DIFFUSION_SETTINGS, "unet": {**UNET_SETTINGS, "steps": 5}}
    first, second = (
        build(DDPM, s, runtime).plan(stack(16, 1), stack(40, 2)).parts for s in (DIFFUSION_SETTINGS, unet_only)
    )
    assert [a.spec.key == b.spec.key for a, b in zip(first, second, strict=True)] == [True, False, False]


@pytest.fixture(scope="module")
def runtime_f8() -> Runtime:
    return Runtime()


@pytest.mark.parametrize("cls", [DDPMStepAF8, DDPMStepBF8, DDPMF8, DDIMF8])
def test_the_variants_with_factor_8_run_on_latents_of_a_quarter_as_many_positions(cls, runtime_f8):
    d, images = detector(cls, runtime_f8, kl_timesteps=4), sick()
    assert d.config.vqvae.factor == 8
    assert d.encode(images).shape == (4, 4, 4, 4)
    scores = d.score(images)
    assert scores.shape == images.shape
    assert bool(scores.isfinite().all())
    base = cls.__mro__[1]
    assert {k: v for k, v in cls.overrides.items() if k != "vqvae.factor"} == base.overrides


def test_an_image_side_that_is_no_multiple_of_the_factor_is_an_error_before_training():
    d = build(DDPMF8, DIFFUSION_SETTINGS)
    odd = stack(4, 1)
    odd._array = odd._array[..., :20, :20]
    with pytest.raises(ConfigError, match="multiples of factor=8"):
        d.plan(odd, stack(40, 2))
    with pytest.raises(ConfigError, match="multiples of factor=8"):
        d.fit(odd, stack(40, 2))


@pytest.mark.parametrize("cls", [DDPMStepA, DDPMStepB, DDPM, DDIM])
@pytest.mark.parametrize("size", [1, 3])
def test_the_same_seed_gives_the_same_scores_in_batches_of_any_size(cls, size, runtime):
    d, images = detector(cls, runtime, **LOW), sick(4)
    whole = d.score(images)
    parts = torch.cat([d.score(batch) for batch in images.split(size)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(d.score(images), whole, rtol=0, atol=0)


def test_another_seed_heals_with_other_noise(runtime):
    first = detector(DDPMStepA, runtime)
    other = build(DDPMStepA, DIFFUSION_SETTINGS, Runtime(seed=1))
    other.load_state(first.state())
    assert not torch.equal(first.score(sick()), other.score(sick()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t_low": 20, "t_high": 20}, "t_low < t_high"),
        ({"t_high": 42}, "T = 40"),
        ({"start_t": 41}, "start_t <= T"),
        ({"percentile": 100.0}, "less than 100"),
    ],
)
def test_settings_outside_the_chain_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(DDPM, {**DIFFUSION_SETTINGS, **changes})


def test_an_image_score_by_the_map_is_the_largest_value_of_the_smoothed_map(runtime, passes):
    d = detector(DDPM, runtime, image_score="map-max", image_sigma=0.8)
    images = sick(4)
    v = d.kl(d.encode(images), d.timesteps)
    expected = [ndimage.gaussian_filter(m.double().numpy(), 0.8, mode="nearest", truncate=6).max() for m in v]
    passes.clear()
    scores = d.image_scores(images)
    torch.testing.assert_close(scores, torch.tensor(expected).float(), rtol=0.02, atol=1e-6)
    assert d.plan(stack(16, 1), stack(40, 2)).image_passes == len(d.timesteps)
