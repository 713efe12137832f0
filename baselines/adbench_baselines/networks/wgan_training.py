"""Training of the WGAN: generator and critic train each other, and both are looked at for collapse.

Differs from the paper: the generator's weights are averaged (`ema_decay`, 0 for the paper's).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from adbench.contracts.plan import Run
from adbench.devices.device import autocast
from adbench.errors import TrainingError
from adbench.storage.saved import Checkpoint
from adbench.training.average import Ema
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.loop import LoopOptions, check_finite, learning_rate_factor, remaining_steps
from adbench.training.part import Part, Source
from adbench.training.state import TrainingState
from adbench.training.streams import stream
from adbench_baselines.networks.wgan import WGAN, slopes
from adbench_baselines.networks.wgan_networks import WGANConfig, levels_of

NetT = TypeVar("NetT", bound=nn.Module)

VERSION = 1
"""Raise it when the same configuration would train other networks."""
DISTANCE_LIMIT = 10.0
"""Largest believable slope of the critic; see `check_distances`."""
LEAST_SLOPE = 0.1
"""Least slope of a trained critic; see `check_slope`."""
LEAST_SPREAD = 0.1
"""Least spread of generated images, as a fraction of that of healthy ones; see `check_spread`."""
SPREAD_IMAGES = 256
STATISTICS_BATCHES = 20
"""Batches of samples that the generator's batch statistics are taken from after training."""


@dataclass(frozen=True, kw_only=True)
class WGANPart(Part):
    """Generator and critic, which train each other."""

    def make(self, net: WGAN, source: Source, checkpoint: Checkpoint) -> None:
        train_wgan(net, source, checkpoint)

    def one_step(self, net: WGAN, source: Source) -> Run:
        training = WGANTraining(net)
        return lambda: training.step(source, stream("plan", 0))


def part(config: WGANConfig) -> WGANPart:
    return WGANPart(
        kind="wgan",
        version=VERSION,
        config=config,
        network=lambda size: in_channels_last(WGAN(config, size)),
        check=levels_of,
    )


def in_channels_last(module: NetT) -> NetT:
    """Return a network in the memory layout that convolutions are fastest in."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def draw(source: Source, n: int, generator: torch.Generator) -> Tensor:
    """Return `n` random images, (n, 1, H, W)."""
    return source.images(n, generator).contiguous(memory_format=torch.channels_last)


class WGANTraining:
    """The two optimisers, and one step: `critic_steps` updates of the critic and one of the generator."""

    def __init__(self, module: WGAN) -> None:
        self.module, self.config = module, module.config
        settings: dict[str, Any] = {"betas": (self.config.beta1, self.config.beta2), "weight_decay": 0.0}
        self.critic, self.generator = (
            torch.optim.AdamW(net.parameters(), lr=self.config.learning_rate, **settings)
            for net in (module.critic, module.generator)
        )

    def step(self, source: Source, generator: torch.Generator, factor: float = 1.0) -> tuple[Tensor, Tensor]:
        """Update both, at `factor` of the learning rate; return the sum of the gradient norms and the distances."""
        norms, distances = [], []
        for optimiser in (self.critic, self.generator):
            for group in optimiser.param_groups:
                group["lr"] = self.config.learning_rate * factor
        for _ in range(self.config.critic_steps):
            images = draw(source, self.config.batch_size, generator)
            with autocast(images.device):
                loss, distance = self.module.critic_loss(images, generator)
            norms.append(self._descend(loss, self.critic))
            distances.append(distance)
        self.module.critic.requires_grad_(False)  # its gradients are not needed here, and cost a third of the step
        with autocast(self.module.device):
            loss = self.module.generator_loss(generator)
        norms.append(self._descend(loss, self.generator))
        self.module.critic.requires_grad_(True)
        return torch.stack(norms).sum(), torch.stack(distances)

    @staticmethod
    def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return nn.utils.get_total_norm([p.grad for group in optimiser.param_groups for p in group["params"]])


def train_wgan(module: WGAN, source: Source, checkpoint: Checkpoint) -> None:
    """Train generator and critic, from the checkpoint where there is one.

    Raises TrainingError where a gradient, the critic or the generator goes wrong: see the three checks.
    """
    config, runtime = module.config, source.runtime
    options = LoopOptions(
        "WGAN", config.steps, config.learning_rate, runtime.seed, final_learning_rate=config.final_learning_rate
    )
    module.train()
    training, ema = WGANTraining(module), Ema(module.generator, config.ema_decay)
    networks = {"generator": module.generator, "critic": module.critic}
    optimisers = {"generator_optimiser": training.generator, "critic_optimiser": training.critic}
    state = TrainingState(networks, optimisers, {"average": ema.shadow})
    norms: list[Tensor] = []
    distances: list[Tensor] = []

    def look(step: int) -> None:
        check_finite(norms, step, options)
        check_distances(torch.cat(distances), source.healthy.shape, step, options)
        norms.clear()
        distances.clear()

    for step in remaining_steps(state, options, checkpoint, runtime.progress, look):
        norm, distance = training.step(source, stream("WGAN", runtime.seed, step), learning_rate_factor(step, options))
        ema.update(module.generator, step)
        norms.append(norm)
        distances.append(distance)
    ema.copy_to(module.generator)
    settle_statistics(module, runtime.seed)
    if config.steps >= TRIVIAL_STEPS:
        check_slope(module, source, options)
    check_spread(module, source, options)


def check_distances(distances: Tensor, shape: Sequence[int], step: int, options: LoopOptions) -> None:
    """Raise TrainingError where the critic lost its slope of about 1.

    Images in [0, 1] of n pixels are at most sqrt(n) apart, so that a critic of slope 1 cannot tell any two sets of
    them apart by more than that. Ten times as much is no distance: the gradient penalty no longer holds the critic.
    """
    limit = DISTANCE_LIMIT * math.sqrt(math.prod(shape[1:]))
    largest = float(distances.abs().max())
    if not largest <= limit:
        raise TrainingError(
            f"Training WGAN diverged by step {step + 1} of {options.steps}: the critic's estimate of the Wasserstein "
            f"distance is {largest:.3g}, and at most {limit:.3g} is believable. Lower its learning rate of "
            f"{options.learning_rate}, or raise wgan.penalty_weight."
        )


def check_slope(module: WGAN, source: Source, options: LoopOptions) -> None:
    """Raise TrainingError where the trained critic is flat: it tells nothing apart, and the generator learned nothing.

    The penalty pulls the slope on the way between healthy images and samples to 1.
    """
    generator = stream("WGAN slope", options.seed)
    images = draw(source, module.config.batch_size, generator)
    with torch.no_grad():
        fake = module.generator(module.noise(len(images), generator))
    u = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)
    slope = float(slopes(module.critic, u * images + (1 - u) * fake).mean().detach())
    if not slope >= LEAST_SLOPE:
        raise TrainingError(
            f"The critic of the WGAN collapsed: its slope is {slope:.3g}, and the gradient penalty wants 1. Train "
            f"longer, or change its learning rate of {options.learning_rate}."
        )


@torch.no_grad()
def settle_statistics(module: WGAN, seed: int) -> None:
    """Take the generator's batch statistics from samples, since those of training belong to weights not averaged."""
    generator = module.generator.train()
    norms = [layer for layer in generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
    for i in range(STATISTICS_BATCHES):
        with autocast(module.device):
            generator(module.noise(module.config.batch_size, stream("WGAN statistics", seed, i)))
    module.eval()


def spread(images: Tensor) -> float:
    """Return the mean over pixels of their standard deviation over images (B, 1, H, W)."""
    return float(images.float().std(dim=0).mean())


@torch.no_grad()
def check_spread(module: WGAN, source: Source, options: LoopOptions) -> None:
    """Raise TrainingError where generated images hardly vary beside healthy ones.

    Of a generator that gives one image whatever z, an encoder can make nothing: every residual would be to that image.
    A tenth of the healthy images' spread is far below any generator that follows the data, even for a few steps.
    """
    n = min(SPREAD_IMAGES, len(source.healthy))
    with autocast(module.device):
        samples = module.generator(module.noise(n, stream("WGAN samples", options.seed)))
    of_samples = spread(samples)
    of_healthy = spread(draw(source, n, stream("WGAN healthy", options.seed)))
    if not of_samples >= LEAST_SPREAD * of_healthy:
        raise TrainingError(
            f"The generator of the WGAN collapsed: its samples vary by {of_samples:.3g} a pixel, healthy images by "
            f"{of_healthy:.3g}. Train longer, lower its learning rate of {options.learning_rate}, or raise "
            "wgan.critic_steps."
        )
