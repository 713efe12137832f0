"""The diffusion model on latents: MONAI's `DiffusionModelUNet`, trained with L_simple on cached VQ-VAE codes.

It is trained on codes of the images, encoded once (`codes.py`), so that a training step costs the UNet alone. Latents
are standardised per channel.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from adbench.devices.device import autocast
from adbench.devices.graphs import Replayed, graph_training
from adbench.training.part import Draw, Source, TrainedPart
from adbench_baselines.diffusion.schedule import Schedule, q_sample
from adbench_baselines.networks.codes import draw_codes, encode_copies
from adbench_baselines.networks.vqvae import latent_shape

VERSION = 2
"""Raise it when the same configuration would train another network."""


class UNetConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field((128, 256, 256), min_length=1, description="channels of every level")
    residual_blocks: int = Field(2, ge=1, description="residual blocks a level")
    attention_from: int = Field(1, ge=0, description="first level with attention")
    head_channels: int = Field(32, ge=1, description="channels of an attention head")
    diffusion_steps: int = Field(1000, ge=10, lt=10_000, description="T")
    beta_first: float = Field(0.0015, gt=0, lt=1, description="beta_1")
    beta_last: float = Field(0.0195, gt=0, lt=1, description="beta_T; linear in the square root between")
    steps: int = Field(200_000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1.0, ge=0, le=1, description="fraction kept at the end of a half cosine")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")
    t_first: int = Field(1, ge=1, description="first t that training draws")
    t_last: int | None = Field(None, ge=1, description="last t that training draws; null: T, as in the paper")
    augmented_copies: int = Field(15, ge=0, description="augmented encodings kept of every image, beside its own")

    @model_validator(mode="after")
    def _heads_divide_channels(self) -> UNetConfig:
        for channels in self.channels[self.attention_from :]:
            if channels % self.head_channels:
                raise ValueError(
                    f"channels with attention must be multiples of head_channels={self.head_channels}, got {channels}"
                )
        return self

    @model_validator(mode="after")
    def _trained_steps_lie_in_the_chain(self) -> UNetConfig:
        if not self.t_first < self.trained[-1] <= self.diffusion_steps:
            raise ValueError(
                f"t_first < t_last <= T is needed, got {self.t_first}, {self.t_last}, T = {self.diffusion_steps}"
            )
        return self

    @property
    def trained(self) -> range:
        """The steps t that training draws: the network knows no other."""
        return range(self.t_first, (self.t_last or self.diffusion_steps) + 1)


class LatentModel(nn.Module):
    """eps_theta(x_t, t) on standardised latents (B, n_z, h, w), with the latents' mean and spread."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: UNetConfig, latent_channels: int) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet  # MONAI takes seconds to import

        self.config = config
        levels = len(config.channels)
        self.unet = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=latent_channels,
            out_channels=latent_channels,
            num_res_blocks=config.residual_blocks,
            channels=config.channels,
            attention_levels=tuple(level >= config.attention_from for level in range(levels)),
            norm_num_groups=math.gcd(32, *config.channels),
            num_head_channels=config.head_channels,
        )
        self.register_buffer("mean", torch.zeros(1, latent_channels, 1, 1))
        self.register_buffer("std", torch.ones(1, latent_channels, 1, 1))
        self.schedule = Schedule.scaled_linear(config.diffusion_steps, config.beta_first, config.beta_last)
        self._replayed = Replayed(self._eps)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return eps_theta, float32, for (B, n_z, h, w) and (B,) steps in 1..T."""
        return self._replayed(x_t, t)

    def _eps(self, x_t: Tensor, t: Tensor) -> Tensor:
        with autocast(x_t.device):
            eps_theta: Tensor = self.unet(x_t, t)
        return eps_theta.float()

    def standardise(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std

    def restore(self, z: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        return z * self.std + self.mean


def simple_loss(module: LatentModel, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """L_simple = E || eps - eps_theta(x_t, t) ||^2, t uniform in the trained steps, 1..T in Ho et al. 2020, eq. 14."""
    trained = module.config.trained
    t = torch.randint(trained.start, trained.stop, (len(x_0),), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    x_t = q_sample(module.schedule, x_0, t, eps)
    return (module(x_t, t.to(x_0.device)) - eps).square().mean()


def part(config: UNetConfig, vqvae: TrainedPart) -> TrainedPart:
    """The part that the latent methods share, on the latents of `vqvae`."""
    return TrainedPart(
        kind="unet",
        version=VERSION,
        config=config,
        network=lambda size: LatentModel(config, vqvae.config.latent_channels),
        loss=simple_loss,
        title="UNet",
        parents={"vqvae": vqvae},
        batches=_batches,
        example=lambda source: torch.randn(
            config.batch_size, *latent_shape(vqvae.config, source.size), device=source.runtime.device
        ),
        longest_warmup=500,
    )


def _batches(net: LatentModel, source: Source) -> Draw:
    """Give the network mean and spread of the latents, and return how to draw standardised ones."""
    vqvae, config, device = source.parents["vqvae"], net.config, source.runtime.device
    codes = encode_copies(vqvae, source.healthy, config.augmented_copies, source.runtime)
    z = vqvae.quantiser.embed(codes[0].to(device).long())
    net.mean.copy_(z.mean((0, 2, 3), keepdim=True))
    net.std.copy_(z.std((0, 2, 3), keepdim=True))
    shape = (config.batch_size, *z.shape[1:])
    steps = torch.ones(config.batch_size, dtype=torch.long, device=device)
    graph_training(net.unet, torch.zeros(shape, device=device), steps)

    def draw(generator: torch.Generator) -> Tensor:
        chosen = draw_codes(codes, config.batch_size, generator).to(device).long()
        return net.standardise(vqvae.quantiser.embed(chosen))

    return draw
