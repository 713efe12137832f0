"""The latent diffusion detector: its four steps, its threshold, its network passes, and the parts that it shares."""

from __future__ import annotations

import numpy as np
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
from adbench_baselines.diffusion import masking, unet
from adbench_baselines.diffusion.unet import LatentModel
from adbench_baselines.kl_map import KLMap
from adbench_baselines.networks.codes import encode_copies
from adbench_baselines.vqvae_residual import VQVAEResidual
from scipy import ndimage
from tiny_nets import DIFFUSION_SETTINGS, LATENT_SETTINGS, UNET_SETTINGS, VQVAE_SETTINGS, build, fitted, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError
from adbench.storage.store import ArtifactStore
from adbench.training.part import TrainedPart

VQVAE_ONLY = {"vqvae": VQVAE_SETTINGS}
LOW = {"percentile": 60.0}
"""Flags much of every image, so that there is something to compare."""


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    """One artifact store for all detectors of this module."""
    return Runtime()


def detector(cls, runtime, **changes):
    return fitted(cls, {**DIFFUSION_SETTINGS, **changes}, runtime)


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


def test_latents_are_standardised_per_channel_over_the_training_images(runtime):
    d = detector(DDPMStepA, runtime)
    z = d.encode(stack(16, 1)[:])
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(d.model.standardise(d.model.restore(z)), z)


def test_the_training_loss_is_the_mean_squared_error_of_the_noise_with_t_from_1_to_the_last(monkeypatch):
    seen = []
    model = LatentModel(unet.UNetConfig(**UNET_SETTINGS), 4)
    monkeypatch.setattr(LatentModel, "forward", lambda self, x_t, t: (seen.append((x_t, t)), torch.zeros_like(x_t))[1])
    x_0 = torch.randn(400, 4, 4, 4)
    loss = unet.simple_loss(model, x_0, torch.Generator().manual_seed(0))
    x_t, t = seen[0]
    assert (int(t.min()), int(t.max()), len(t.unique())) == (1, 40, 40)
    alpha_bar = model.schedule.alpha_bar[t].float().reshape(-1, 1, 1, 1)
    eps = (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
    assert float(loss) == pytest.approx(float(eps.square().mean()), rel=1e-3)
    assert float(eps.std()) == pytest.approx(1, abs=0.02)


def test_the_unet_is_trained_on_the_encodings_of_plain_and_augmented_images(runtime):
    d, healthy = detector(DDPMStepA, runtime), stack(16, 1)
    codes = encode_copies(d.vqvae, healthy, 2, runtime)
    assert codes.shape == (3, 16, 8, 8)
    assert torch.equal(d.vqvae.quantiser.embed(codes[0].long()), d.vqvae.encode(healthy[:]))
    assert not torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[1], codes[2])
    assert torch.equal(codes, encode_copies(d.vqvae, healthy, 2, runtime))


def test_damaged_parts_are_trained_again_to_the_same_weights(tmp_path):
    said: list[str] = []
    first = detector(DDPMStepA, Runtime(store=ArtifactStore(tmp_path, said.append)))
    (file,) = (tmp_path / first.artifacts()["unet"]).glob("part-*.safetensors")
    file.write_bytes(b"x" + file.read_bytes()[1:])
    second = detector(DDPMStepA, Runtime(store=ArtifactStore(tmp_path, said.append)))
    assert sum("damaged" in line for line in said) == 1
    assert torch.equal(first.score(sick()), second.score(sick()))


def trained_on(first: int, last: int, **changes):
    """Settings of a network that knows t = first..last alone, asked for nothing else."""
    return {**DIFFUSION_SETTINGS, "unet": {**UNET_SETTINGS, "t_first": first, "t_last": last}, **changes}


ONE_STEP = {"image_score": "map-max", "t_low": 8, "t_high": 20, "start_t": 12, "healing_steps": 1, "sampler": "ddim"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_score": "chain"}, "image_score=map-max"),
        ({"t_low": 7}, "t_low"),
        ({"t_high": 22}, "t_high"),
        ({"start_t": 21}, "start_t"),
        ({"healing_steps": 2}, "healing_steps"),  # passes t = 6
        ({"sampler": "ddpm"}, "start_t"),  # passes every t down to 1
    ],
)
def test_a_network_refuses_the_steps_it_was_not_trained_on(changes, named):
    build(DDPM, trained_on(8, 20, **ONE_STEP))
    with pytest.raises(ConfigError, match=named):
        build(DDPM, trained_on(8, 20, **{**ONE_STEP, **changes}))


def test_training_draws_the_trained_steps_alone_and_all_of_them():
    module = LatentModel(unet.UNetConfig(**{**UNET_SETTINGS, "t_first": 5, "t_last": 9}), 4)
    seen: list[int] = []
    module.forward = lambda x_t, t: (seen.extend(t.tolist()), x_t)[1]
    unet.simple_loss(module, torch.zeros(500, 4, 2, 2), torch.Generator().manual_seed(0))
    assert set(seen) == {5, 6, 7, 8, 9}


@pytest.mark.parametrize("wrong", [{"t_last": 41}, {"t_first": 9, "t_last": 9}, {"t_first": 40}])
def test_trained_steps_lie_in_the_chain(wrong):
    with pytest.raises(ValueError, match="t_last"):
        unet.UNetConfig(**{**UNET_SETTINGS, **wrong})


def test_an_image_score_by_the_map_is_the_largest_value_of_the_smoothed_map(runtime, passes):
    d = detector(DDPM, runtime, image_score="map-max", image_sigma=0.8)
    images = sick(4)
    v = d.kl(d.encode(images), d.timesteps)
    expected = [ndimage.gaussian_filter(m.double().numpy(), 0.8, mode="nearest", truncate=6).max() for m in v]
    passes.clear()
    scores = d.image_scores(images)
    torch.testing.assert_close(scores, torch.tensor(expected).float(), rtol=0.02, atol=1e-6)
    assert d.plan(stack(16, 1), stack(40, 2)).image_passes == len(d.timesteps)
