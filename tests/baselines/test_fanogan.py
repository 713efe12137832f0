"""f-AnoGAN: its networks, the equations of both trainings, resuming, and what is an error."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from adbench_baselines import fanogan
from adbench_baselines.fanogan import FAnoGAN, izi_f
from adbench_baselines.networks import wgan, wgan_training
from adbench_baselines.networks.wgan import WGAN, gradient_penalty
from adbench_baselines.networks.wgan_networks import Block, ConvMeanPool, Generator, Trunk, WGANConfig, levels_of
from adbench_baselines.networks.wgan_training import WGANTraining
from tiny_nets import SIDE, build, sick, stack
from torch import nn

from adbench.contracts.detector import Images, Runtime
from adbench.devices.flops import count_flops
from adbench.errors import ConfigError, TrainingError
from adbench.storage.saved import Checkpoint
from adbench.storage.store import ArtifactStore
from adbench.training import loop
from adbench.training.loop import LoopOptions
from adbench.training.part import Source
from adbench.training.streams import stream

SETTINGS = {
    "wgan": {"width": 4, "latent_dim": 8, "critic_steps": 2, "steps": 6, "batch_size": 8, "learning_rate": 1e-3},
    "encoder": {"steps": 30, "batch_size": 8, "learning_rate": 3e-3, "ema_decay": 0.0},
}
SOURCE = Source(stack(16, 1), Runtime())


def tiny(**changes) -> WGANConfig:
    return WGANConfig(**{**SETTINGS["wgan"], **changes})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments)


@pytest.fixture(scope="module")
def detector() -> FAnoGAN:
    made = build(FAnoGAN, SETTINGS)
    made.fit(stack(16, 1), stack(4, 2))
    return made


class LinearCritic(nn.Module):
    """D(x) = <w, x>, whose gradient is w at every x."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (self.weight * images).sum((1, 2, 3))


def test_the_penalty_of_a_linear_critic_is_its_norm_over_all_dimensions_less_1_squared():
    weight = torch.randn(1, 6, 5, generator=generator())
    critic = LinearCritic(weight)
    penalty = gradient_penalty(critic, torch.rand(4, 1, 6, 5, generator=generator(1)))
    norm = weight.square().sum().sqrt()
    torch.testing.assert_close(penalty, (norm - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(critic.weight.grad, 2 * (norm - 1) * weight / norm)


def test_the_penalty_is_taken_sample_by_sample():
    """D(x) = |x|^2 / 2 has the gradient x, so that every sample has a norm of its own."""
    images = torch.rand(3, 1, 4, 4, generator=generator())
    penalty = gradient_penalty(_HalfSquare(), images)
    each = torch.tensor([(math.sqrt(float(image.square().sum())) - 1) ** 2 for image in images])
    torch.testing.assert_close(penalty, each.mean())


class _HalfSquare(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.square().sum((1, 2, 3)) / 2


def test_the_penalty_and_its_gradient_in_bfloat16_are_near_those_in_float32():
    critic, images = seeded(Trunk, tiny(), (SIDE, SIDE), 1), stack(8, 1)[:]
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            penalty = gradient_penalty(critic, images)
        critic.zero_grad()
        penalty.backward()
        found.append(
            (penalty.detach(), torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None]))
        )
    (exact, exact_gradient), (rounded, rounded_gradient) = found
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)
    assert F.cosine_similarity(rounded_gradient, exact_gradient, dim=0) > 0.99


def test_the_critic_s_loss_is_minus_the_distance_plus_lambda_times_the_penalty():
    module, images = seeded(WGAN, tiny(), (SIDE, SIDE)).eval(), stack(8, 1)[:]
    loss, distance = module.critic_loss(images, generator(4))
    rng = generator(4)
    fake = module.generator(torch.randn(8, 8, generator=rng)).detach()
    u = torch.rand(8, 1, 1, 1, generator=rng)
    expected = module.critic(images).mean() - module.critic(fake).mean()
    torch.testing.assert_close(distance, expected.detach())
    penalty = gradient_penalty(module.critic, u * images + (1 - u) * fake)
    torch.testing.assert_close(loss, 10.0 * penalty - expected)


def test_critic_and_encoder_treat_each_sample_alone_even_in_training():
    critic, images = seeded(Trunk, tiny(), (SIDE, SIDE), 3).train(), sick(4)
    torch.testing.assert_close(critic(images)[:1], critic(images[:1]))
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in critic.modules())


def test_the_critic_tells_near_images_apart_in_bfloat16_far_from_0():
    critic, images = seeded(Trunk, tiny(), (SIDE, SIDE), 1), stack(8, 1)[:]
    near = critic(images)
    nn.init.constant_(critic.output.bias, critic.output.bias.item() + 1000.0)
    with torch.autocast("cpu", torch.bfloat16):
        far = critic(images)
    assert far.dtype == torch.float32
    torch.testing.assert_close(far - 1000.0, near, atol=0.02, rtol=0)  # bfloat16 has steps of 4 near 1000


def test_convolution_and_mean_in_one_are_what_they_are_one_after_the_other():
    layer, x = seeded(ConvMeanPool, 3, 5, 3), torch.randn(2, 3, 8, 6, generator=generator())
    expected = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(("change", "side"), [("down", 4), ("up", 16)])
def test_a_block_adds_its_shortcut(change, side):
    block, x = seeded(Block, 3, 5, change, lambda _: nn.Identity()), torch.randn(2, 3, 8, 8, generator=generator())
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    resampled = F.avg_pool2d(x, 2) if change == "down" else x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert block(x).shape == (2, 5, side, side)
    torch.testing.assert_close(block(x), F.conv2d(resampled, block.shortcut.weight, block.shortcut.bias))


@pytest.mark.parametrize(
    ("size", "levels", "grid"),
    [((32, 32), 3, (4, 4)), ((64, 64), 4, (4, 4)), ((128, 128), 5, (4, 4)), ((96, 64), 4, (6, 4)), ((8, 8), 1, (4, 4))],
)
def test_networks_fit_the_image_size(size, levels, grid):
    config = tiny(width=2)
    assert levels_of(size) == levels
    images = seeded(Generator, config, size)(torch.randn(3, 8, generator=generator()))
    assert images.shape == (3, 1, *size)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    critic = seeded(Trunk, config, size, 1)
    assert critic(images).shape == (3, 1)
    assert critic.features(images).shape == (3, 2 * min(2**levels, 8), *grid)


@pytest.mark.parametrize(("size", "factor"), [((60, 64), 8), ((64, 100), 16), ((7, 32), 2), ((4, 4), 2)])
def test_a_size_that_cannot_be_halved_to_the_grid_is_refused(size, factor):
    with pytest.raises(ConfigError, match=f"multiples of {factor} here, got {size[0]} x {size[1]}. Choose a size"):
        levels_of(size)


def test_a_refused_size_is_found_by_planning_and_by_fitting():
    runtime, odd = Runtime(), Images(np.zeros((4, 1, 30, 32), np.float32), "odd")
    for verb in ("plan", "fit"):
        with pytest.raises(ConfigError, match="got 30 x 32"):
            getattr(build(FAnoGAN, SETTINGS, runtime), verb)(odd, odd)
    assert not any(runtime.store.root.iterdir())


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_the_critic_is_updated_critic_steps_times_for_one_update_of_the_generator(critic_steps):
    module = seeded(WGAN, tiny(critic_steps=critic_steps), (SIDE, SIDE)).train()
    training = WGANTraining(module)
    for _ in range(2):
        _, distances = training.step(SOURCE, generator())
        assert distances.shape == (critic_steps,)
    steps = {name: {int(s["step"]) for s in getattr(training, name).state.values()} for name in ("critic", "generator")}
    assert steps == {"critic": {2 * critic_steps}, "generator": {2}}


def test_the_critic_s_loss_gives_the_generator_no_gradient_and_the_generator_s_loss_reaches_all_of_it():
    module = seeded(WGAN, tiny(critic_steps=1), (SIDE, SIDE)).train()
    module.critic_loss(stack(8, 1)[:], generator())[0].backward()
    assert all(p.grad is None for p in module.generator.parameters())
    module.generator_loss(generator()).backward()
    assert all(p.grad is not None for p in module.generator.parameters())


def test_the_generator_s_loss_is_minus_the_critic_s_mean_on_samples():
    module = seeded(WGAN, tiny(), (SIDE, SIDE)).eval()
    samples = module.generator(torch.randn(8, 8, generator=generator(5)))
    torch.testing.assert_close(module.generator_loss(generator(5)), -module.critic(samples).mean())


def test_the_critic_still_learns_after_the_generator_s_update():
    module = seeded(WGAN, tiny(critic_steps=1), (SIDE, SIDE)).train()
    training = WGANTraining(module)
    for seed in range(2):
        before = {name: p.detach().clone() for name, p in module.critic.named_parameters()}
        training.step(SOURCE, generator(seed))
        still = [name for name, p in module.critic.named_parameters() if torch.equal(p, before[name])]
        assert all(name.endswith("bias") for name in still), "no loss depends on a bias that shifts D everywhere"


def test_izi_f_is_the_pixels_mse_plus_kappa_times_the_features_mse():
    critic = seeded(Trunk, tiny(), (SIDE, SIDE), 1)
    images, x_hat = sick(3), stack(3, 1)[:]
    found = izi_f(critic, images, x_hat, kappa=0.7)
    for i in range(3):
        of_features = F.mse_loss(critic.features(images[i : i + 1]), critic.features(x_hat[i : i + 1]))
        torch.testing.assert_close(found[i], F.mse_loss(images[i], x_hat[i]) + 0.7 * of_features)


def test_image_scores_are_the_loss_that_the_encoder_descends(detector):
    images = sick(4)
    loss = fanogan.encoder_loss(detector.encoder, detector.wgan, images, detector.config.encoder.kappa)
    torch.testing.assert_close(detector.image_scores(images).mean(), loss)
    each = [fanogan.encoder_loss(detector.encoder, detector.wgan, image[None], 1.0) for image in images]
    torch.testing.assert_close(detector.image_scores(images), torch.stack(each))


def test_score_maps_are_the_residual_to_the_generated_image(detector):
    images = sick(2)
    x_hat = detector.wgan.generator(detector.encoder(images))
    torch.testing.assert_close(detector.score(images), (images - x_hat).abs())
    assert 0 <= x_hat.min() < x_hat.max() <= 1


def test_training_the_encoder_leaves_the_wgan_as_it_was_and_lowers_its_loss(detector):
    images = stack(16, 1)[:]
    kept = detector.runtime.store.get(wgan_training.part(detector.config.wgan).spec(stack(16, 1), 0), pytest.fail)
    assert all(torch.equal(v, kept[k]) for k, v in detector.wgan.state_dict().items())
    untrained = detector.parts()["fanogan-encoder"].fresh((SIDE, SIDE), Runtime())
    before = fanogan.encoder_loss(untrained, detector.wgan, images, 1.0)
    assert fanogan.encoder_loss(detector.encoder, detector.wgan, images, 1.0) < 0.7 * before


def test_the_encoder_is_another_part_for_another_wgan_but_the_wgan_none_for_another_encoder():
    def keys(settings: dict) -> list[str]:
        return [part.spec.key for part in build(FAnoGAN, settings).plan(stack(4, 1), stack(4, 2)).parts]

    first = keys(SETTINGS)
    other_encoder = keys({**SETTINGS, "encoder.kappa": 0.5})
    other_wgan = keys({**SETTINGS, "wgan.penalty_weight": 5.0})
    assert first[0] == other_encoder[0] != other_wgan[0]
    assert len({first[1], other_encoder[1], other_wgan[1]}) == 3


def test_planned_parts_name_a_network_and_a_step_of_their_training_whose_flops_can_be_counted():
    parts = build(FAnoGAN, SETTINGS).plan(stack(16, 1), stack(4, 2)).parts
    assert [(part.spec.kind, part.steps) for part in parts] == [("wgan", 6), ("fanogan-encoder", 30)]
    for part in parts:
        module, run = part.build()
        assert count_flops(run) > 0
        assert all(p.grad is not None for p in module.parameters())


class CutOffError(Exception):
    """Stands for whatever ends a run."""


@pytest.mark.parametrize(("what", "stops"), [("WGAN", (1, 4)), ("f-AnoGAN encoder", (3, 20))])
def test_a_training_that_was_cut_off_and_resumed_gives_the_weights_of_one_that_was_not(
    what, stops, detector, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)  # after every step
    store, seen = ArtifactStore(tmp_path), []

    def fit(stop: int) -> FAnoGAN:
        def progress(name: str, done: int, total: int) -> None:
            if name == what:
                seen.append(done)
                if done == stop:
                    raise CutOffError

        made = build(FAnoGAN, SETTINGS, Runtime(store=store, progress=progress))
        made.fit(stack(16, 1), stack(4, 2))
        return made

    for stop in stops:
        with pytest.raises(CutOffError):
            fit(stop)
    resumed = fit(-1)
    assert seen == list(range(1, max(seen) + 1)), "every step is done once"
    for name, value in detector.state().items():
        assert torch.equal(resumed.state()[name], value), name


@pytest.mark.parametrize(
    ("learning_rate", "what"),
    [(1e3, r"at step \d+ of 20 .gradient norm (nan|inf)."), (1.0, "by step 20 of 20: the critic's estimate")],
)
def test_a_learning_rate_without_reason_is_an_error_and_no_part(learning_rate, what):
    runtime, healthy, config = Runtime(), stack(16, 1), tiny(learning_rate=learning_rate, steps=20)
    with pytest.raises(
        TrainingError, match=f"Training WGAN diverged {what}.* Lower its learning rate of {learning_rate}"
    ):
        wgan_training.part(config).fetch(healthy, runtime)
    assert not runtime.store.has(wgan_training.part(config).spec(healthy, 0))


def test_a_distance_that_no_two_sets_of_images_can_have_is_an_error():
    options = LoopOptions("WGAN", 100, 1e-4, 0)
    limit = 10 * SIDE
    wgan_training.check_distances(torch.tensor([-limit, 0.0, limit]) * 0.99, (5, 1, SIDE, SIDE), 3, options)
    for value in (1.01 * limit, -1.01 * limit, math.nan, math.inf):
        with pytest.raises(TrainingError, match=r"diverged by step 4 of 100: .*at most 320 is believable"):
            wgan_training.check_distances(torch.tensor([0.0, value]), (5, 1, SIDE, SIDE), 3, options)


def test_a_generator_that_gives_one_image_whatever_z_is_an_error(monkeypatch):
    def stuck(module, *_) -> None:
        nn.init.zeros_(module.generator.input.weight)
        module.eval()

    monkeypatch.setattr(wgan_training, "settle_statistics", stuck)
    runtime, healthy = Runtime(), stack(16, 1)
    with pytest.raises(TrainingError, match="generator of the WGAN collapsed: its samples vary by 0 a pixel"):
        wgan_training.part(tiny(steps=1)).fetch(healthy, runtime)
    assert not runtime.store.has(wgan_training.part(tiny(steps=1)).spec(healthy, 0))


@pytest.mark.parametrize(("scale", "collapsed"), [(1.0, False), (0.0, True)])
def test_a_trained_critic_that_is_flat_is_an_error(scale, collapsed):
    module = seeded(WGAN, tiny(), (SIDE, SIDE)).eval()
    images = wgan_training.draw(SOURCE, 8, generator())
    slope = float(wgan.slopes(module.critic, images).mean().detach())
    with torch.no_grad():
        module.critic.output.weight.mul_(scale / slope)
    options = LoopOptions("WGAN", 300, 1e-4, 0)
    with pytest.raises(TrainingError, match="critic of the WGAN collapsed") if collapsed else nullcontext():
        wgan_training.check_slope(module, SOURCE, options)


def test_an_encoder_that_maps_all_images_to_one_place_is_an_error(monkeypatch):
    monkeypatch.setattr(fanogan, "TRIVIAL_STEPS", 1)
    module = seeded(WGAN, tiny(), (SIDE, SIDE)).eval().requires_grad_(False)
    nn.init.zeros_(module.generator.input.weight)  # whatever z, one image
    config = fanogan.EncoderConfig(steps=1, batch_size=4)
    part = fanogan.encoder_part(config, wgan_training.part(tiny()))
    source = Source(stack(16, 1), Runtime(), {"wgan": module})
    checkpoint = Checkpoint(Runtime().store.root, print)
    with pytest.raises(TrainingError, match="f-AnoGAN encoder collapsed: its reconstructions do not depend"):
        part.make(part.fresh((SIDE, SIDE), Runtime()), source, checkpoint)


def test_the_spread_is_the_mean_standard_deviation_of_a_pixel_over_images():
    images = torch.tensor([[0.0, 0.5], [1.0, 0.5]]).reshape(2, 1, 1, 2)
    assert wgan_training.spread(images) == pytest.approx(math.sqrt(0.5) / 2)


def test_after_training_batch_statistics_are_those_of_the_samples():
    module = seeded(WGAN, tiny(), (SIDE, SIDE)).train()
    wgan_training.settle_statistics(module, seed=3)
    first = module.generator.blocks[0].norm1
    noise = [module.noise(8, stream("WGAN statistics", 3, i)) for i in range(wgan_training.STATISTICS_BATCHES)]
    seen = [module.generator.input(z).unflatten(1, module.generator.grid) for z in noise]
    torch.testing.assert_close(first.running_mean, torch.stack([h.mean((0, 2, 3)) for h in seen]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([h.var((0, 2, 3)) for h in seen]).mean(0))
    assert not module.training
