"""AE (Spatial) and VAE (Dense): architecture, losses, what training leaves, collapse, and the detector contract."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.autoencoder import AE, VAE, AEConfig, DenseVAE, SpatialAE, VAEConfig, kl_to_standard_normal
from adbench_baselines.images import augmentation
from adbench_baselines.networks.reconstruction import check_depends_on_image, keep
from tiny_nets import SIDE, build, fitted, sick, stack
from torch import nn
from torch.distributions import Normal, kl_divergence

from adbench.config.presets import PRESETS
from adbench.contracts.detector import Images, Runtime
from adbench.errors import ConfigError, TrainingError
from adbench.storage.store import ArtifactStore
from adbench.testing import toy_split
from adbench.training import loop

TINY = {"channels": (8, 16, 16), "steps": 60, "batch_size": 8, "learning_rate": 5e-3, "ema_decay": 0.8}
SHORT = {**TINY, "steps": 6}
BOTH = pytest.mark.parametrize("cls", [AE, VAE])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 128), (96, 160)])
def test_the_bottleneck_is_a_sixteenth_of_the_image_with_128_channels_at_any_size(height, width):
    images = noise(2, 1, height, width)
    ae, vae = SpatialAE(AEConfig()).eval(), DenseVAE(VAEConfig(), (height, width)).eval()
    assert ae.encoder(images).shape == (2, 128, height // 16, width // 16)
    assert vae.encoder(images).shape == (2, 16 * (height // 16) * (width // 16))
    mu, log_sigma = vae.encode(images)
    assert mu.shape == log_sigma.shape == (2, 128)
    for net in (ae, vae):
        x_hat = net(images)
        assert x_hat.shape == images.shape
        assert x_hat.dtype == torch.float32


def test_the_levels_of_encoder_and_decoder_are_those_of_the_paper_and_mirror_each_other():
    def convolutions(module: nn.Module, layer: type) -> list[tuple]:
        return [
            (m.in_channels, m.out_channels, m.kernel_size, m.stride) for m in module.modules() if isinstance(m, layer)
        ]

    net = SpatialAE(AEConfig())
    down = convolutions(net.encoder, nn.Conv2d)
    assert [outputs for _, outputs, _, _ in down] == [32, 64, 128, 128]
    up = convolutions(net.decoder, nn.ConvTranspose2d)
    assert [(o, i) for i, o, _, _ in up][:-1] == [(i, o) for i, o, _, _ in reversed(down)][:-1]
    assert {shape[2:] for shape in down + up} == {((5, 5), (2, 2))}
    assert convolutions(net.decoder, nn.Conv2d) == [(32, 1, (1, 1), (1, 1))]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.encoder.modules()) == 4


@BOTH
@pytest.mark.parametrize("shape", [(64, 60), (40, 64), (16, 64)])
def test_an_image_size_that_cannot_be_halved_often_enough_is_an_error(cls, shape):
    images = Images(noise(4, 1, *shape).numpy(), "odd")
    detector = build(cls, {"steps": 1})
    for verb in (detector.fit, detector.plan):
        with pytest.raises(ConfigError, match=f"multiples of 16, from 32 on, got {shape[0]} x {shape[1]}"):
            verb(images, images)


def test_the_kl_is_that_of_torch_summed_over_the_latent():
    mu, log_sigma = 3 * torch.randn(5, 7, generator=generator(1)), torch.randn(5, 7, generator=generator(2))
    expected = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mu, log_sigma), expected)
    assert kl_to_standard_normal(torch.zeros(1, 7), torch.zeros(1, 7)).item() == 0


def test_the_vae_s_loss_is_l1_plus_beta_kl_both_summed_then_divided_by_the_pixels():
    images, losses = noise(3, 1, SIDE, SIDE), {}
    for beta in (0.0, 1.0, 4.0):
        torch.manual_seed(0)
        config = VAEConfig(channels=(8, 16), latent_size=6, dropout=0.0, beta=beta)
        net = DenseVAE(config, (SIDE, SIDE)).eval()
        losses[beta] = net.losses(images, generator(7))
    mu, log_sigma = net.encode(images)
    z = mu + log_sigma.exp() * torch.randn(mu.shape, generator=after_dropout(mu))
    x_hat = net.decoder(net.dense(z))
    kl = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(losses[0.0], (images - x_hat).abs().sum() / images.numel())
    for beta in (1.0, 4.0):
        torch.testing.assert_close(losses[beta] - losses[0.0], beta * kl / images.numel())


def after_dropout(mu: torch.Tensor) -> torch.Generator:
    """The generator of the loss once the two dropout masks of the latent are drawn."""
    g = generator(7)
    for _ in range(2):
        torch.rand(mu.shape, generator=g)
    return g


def test_the_ae_s_loss_without_dropout_is_the_mean_absolute_error():
    net, images = SpatialAE(AEConfig(channels=(8, 16), dropout=0.0)).eval(), noise(3, 1, SIDE, SIDE)
    torch.testing.assert_close(net.losses(images, generator()), (images - net(images)).abs().mean())


def test_dropout_keeps_the_mean_and_drops_the_rate_as_its_generator_decides():
    like = torch.zeros(())
    first, again, other = (keep(torch.Size((100, 100)), 0.2, like, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 1.25}
    assert float((first == 0).float().mean()) == pytest.approx(0.2, abs=0.02)


@BOTH
def test_dropout_and_sampling_are_in_the_loss_alone(cls):
    detector = fitted(cls, SHORT)
    assert not detector.net.training
    assert torch.equal(detector.net(sick()), detector.net(sick()))
    losses = [float(detector.net.losses(sick(), generator(seed))) for seed in (1, 2)]
    assert losses[0] != losses[1]


@BOTH
def test_the_score_is_the_absolute_residual_and_the_image_s_score_its_mean(cls):
    detector, images = fitted(cls, SHORT), sick()
    residual = (images - detector.net(images)).abs()
    torch.testing.assert_close(detector.score(images), residual)
    torch.testing.assert_close(detector.image_scores(images), residual.mean((1, 2, 3)))


@BOTH
def test_batch_norm_statistics_are_those_of_the_averaged_weights_on_the_training_images(cls):
    detector = fitted(cls, {**SHORT, "ema_decay": 0.9})
    first = detector.net.encoder[0] if cls is AE else detector.net.encoder[0][0]
    before_norm = first.conv(stack(16, 1)[:])
    norm = next(m for m in first.modules() if isinstance(m, nn.BatchNorm2d))
    torch.testing.assert_close(norm.running_mean, before_norm.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, before_norm.var((0, 2, 3)), rtol=1e-4, atol=1e-7)


@BOTH
def test_a_training_that_was_cut_off_gives_the_weights_of_one_that_was_not(cls, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)
    whole, store = fitted(cls, SHORT), ArtifactStore.temporary()
    original, calls = augmentation.augment, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(augmentation, "augment", stops)
    with pytest.raises(KeyboardInterrupt):
        fitted(cls, SHORT, Runtime(store=store))
    resumed = fitted(cls, SHORT, Runtime(store=store))
    assert len(calls) == 4 + 3  # three steps were kept
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name


class Constant(nn.Module):
    """Reconstructs the same image, up to `leak` of the image given."""

    def __init__(self, leak: float) -> None:
        super().__init__()
        self.leak = leak

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 0.5 + self.leak * images


def test_reconstructions_that_do_not_depend_on_the_image_are_an_error():
    images = stack(16, 1)[:]
    check_depends_on_image(Constant(0.05), images, "vae", 1e-3)
    with pytest.raises(TrainingError, match=r"vae collapsed.*do not depend on the image.*learning_rate=0.001"):
        check_depends_on_image(Constant(0.001), images, "vae", 1e-3)


def test_identical_training_images_are_no_collapse():
    check_depends_on_image(Constant(1.0), torch.full((4, 1, 8, 8), 0.3), "ae", 1e-3)


def test_a_vae_whose_posterior_collapses_fails_and_leaves_no_part():
    detector = build(VAE, {**TINY, "channels": (4, 4), "latent_size": 4, "steps": 200, "beta": 1e4})
    healthy = stack(16, 1)
    with pytest.raises(TrainingError, match="vae collapsed"):
        detector.fit(healthy, healthy)
    assert not detector.runtime.store.has(detector.plan(healthy, healthy).parts[0].spec)


@BOTH
def test_the_plan_names_the_part_and_its_functions_run(cls):
    healthy = stack(4, 1)
    plan = build(cls, SHORT).plan(healthy, healthy)
    (part,) = plan.parts
    net, run = part.build()
    run()
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters())
    assert plan.forward(3)().shape == (3, 1, SIDE, SIDE)
    assert plan.passes == {"reconstruct": 1}


@BOTH
def test_fitting_again_reuses_the_part_and_another_seed_does_not(cls):
    runtime = Runtime()
    first, second = fitted(cls, SHORT, runtime), fitted(cls, SHORT, runtime)
    assert first.artifacts() == second.artifacts()
    assert torch.equal(first.score(sick()), second.score(sick()))
    other = fitted(cls, SHORT, Runtime(seed=1))
    assert other.artifacts() != first.artifacts()
    assert not torch.equal(other.score(sick()), first.score(sick()))


@BOTH
def test_every_preset_runs_at_64_px_with_its_own_network(cls):
    split = toy_split(4, 64, 1)
    images = Images(split.images, split.image_fingerprint)
    for preset in PRESETS:
        detector = build(cls, {**cls.presets[preset]})
        x_hat = detector.plan(images, images).forward(2)()
        assert x_hat.shape == (2, 1, 64, 64)
