"""A UNet on latents and times, MONAI's `DiffusionModelUNet`, and how it is trained on cached latents.

It is trained on latents of the images, encoded once (`codes.py`), so that a training step costs the UNet alone. Latents
are standardised per channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from adbench.devices.device import autocast
from adbench.devices.graphs import Replayed, graph_training
from adbench.training.part import Draw, Source, TrainedPart
from adbench_baselines.networks.codes import draw_copies, encode_copies, encode_copies_unquantised
from adbench_baselines.networks.vqvae import latent_shape

LATENT_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"channels": (32, 32), "residual_blocks": 1, "steps": 30, "learning_rate": 1e-3, "augmented_copies": 0},
    "demo": {
        "channels": (16, 32, 64), "residual_blocks": 1, "attention_from": 2, "steps": 1000, "batch_size": 32,
        "learning_rate": 2e-3, "final_learning_rate": 0.02, "augmented_copies": 2,
    },
    "small": {
        "channels": (64, 128, 128), "residual_blocks": 1, "steps": 6000, "learning_rate": 6e-4,
        "final_learning_rate": 0.02, "augmented_copies": 3,
    },
    "standard": {
        "channels": (48, 96, 96), "residual_blocks": 1, "steps": 16_000, "batch_size": 32, "learning_rate": 6e-4,
        "final_learning_rate": 0.02, "augmented_copies": 3,
    },
    "paper": {},
}  # fmt: skip
"""The UNet of each preset; all but "paper" are for CPUs."""


class LatentTrainingConfig(BaseModel):
    """How a network is trained on cached latents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(200_000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1.0, ge=0, le=1, description="fraction kept at the end of a half cosine")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")
    augmented_copies: int = Field(15, ge=0, description="augmented encodings kept of every image, beside its own")


class LatentNetConfig(LatentTrainingConfig):
    """Size of the UNet, and how it is trained."""

    channels: tuple[int, ...] = Field((128, 256, 256), min_length=1, description="channels of every level")
    residual_blocks: int = Field(2, ge=1, description="residual blocks a level")
    attention_from: int = Field(1, ge=0, description="first level with attention")
    head_channels: int = Field(32, ge=1, description="channels of an attention head")

    @model_validator(mode="after")
    def _heads_divide_channels(self) -> LatentNetConfig:
        for channels in self.channels[self.attention_from :]:
            if channels % self.head_channels:
                raise ValueError(
                    f"channels with attention must be multiples of head_channels={self.head_channels}, got {channels}"
                )
        return self


class LatentNet(nn.Module):
    """Standardised latents (B, n_z, h, w) and times (B,) -> (B, outputs, h, w), with the latents' mean and spread."""

    mean: Tensor
    std: Tensor
    times: ClassVar[torch.dtype] = torch.long
    """What times are."""

    def __init__(self, config: LatentNetConfig, latent_channels: int, outputs: int) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet  # MONAI takes seconds to import

        levels = len(config.channels)
        self.unet = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=latent_channels,
            out_channels=outputs,
            num_res_blocks=config.residual_blocks,
            channels=config.channels,
            attention_levels=tuple(level >= config.attention_from for level in range(levels)),
            norm_num_groups=math.gcd(32, *config.channels),
            num_head_channels=config.head_channels,
        )
        self.register_buffer("mean", torch.zeros(1, latent_channels, 1, 1))
        self.register_buffer("std", torch.ones(1, latent_channels, 1, 1))
        self._replayed = Replayed(self._run)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return what the UNet makes of (B, n_z, h, w) and (B,) times, float32."""
        return self._replayed(x_t, t)

    def _run(self, x_t: Tensor, t: Tensor) -> Tensor:
        with autocast(x_t.device):
            out: Tensor = self.unet(x_t, t)
        return out.float()

    def standardise(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.std

    def restore(self, z: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        return z * self.std + self.mean


def latent_part(
    kind: str,
    version: int,
    config: LatentTrainingConfig,
    compressor: TrainedPart,
    network: Callable[[int], LatentNet],
    loss: Callable[[Any, Tensor, torch.Generator], Tensor],
    draws: Callable[[Any, Source, LatentTrainingConfig], Draw],
    title: str = "",
) -> TrainedPart:
    """The part of a network on the latents of `compressor`; `network` gives it for a number of latent channels."""
    return TrainedPart(
        kind=kind,
        version=version,
        config=config,
        network=lambda size: network(compressor.config.latent_channels),
        loss=loss,
        title=title,
        parents={"vqvae": compressor},
        batches=lambda net, source: draws(net, source, config),
        example=lambda source: torch.randn(
            config.batch_size, *latent_shape(compressor.config, source.size), device=source.runtime.device
        ),
        longest_warmup=500,
    )


def draws_of_codes(net: LatentNet, source: Source, config: LatentTrainingConfig) -> Draw:
    """Give the network mean and spread of the codes, and return how to draw standardised ones."""
    vqvae, device = source.parents["vqvae"], source.runtime.device
    codes = encode_copies(vqvae, source.healthy, config.augmented_copies, source.runtime)
    _prepare(net, vqvae.quantiser.embed(codes[0].to(device).long()), config)

    def draw(generator: torch.Generator) -> Tensor:
        chosen = draw_copies(codes, config.batch_size, generator).to(device).long()
        return net.standardise(vqvae.quantiser.embed(chosen))

    return draw


def draws_of_latents(net: LatentNet, source: Source, config: LatentTrainingConfig) -> Draw:
    """The same of latents before quantisation."""
    device = source.runtime.device
    latents = encode_copies_unquantised(
        source.parents["vqvae"], source.healthy, config.augmented_copies, source.runtime
    )
    _prepare(net, latents[0].to(device), config)
    return lambda generator: net.standardise(draw_copies(latents, config.batch_size, generator).to(device))


def _prepare(net: LatentNet, z: Tensor, config: LatentTrainingConfig) -> None:
    net.mean.copy_(z.mean((0, 2, 3), keepdim=True))
    net.std.copy_(z.std((0, 2, 3), keepdim=True))
    shape = (config.batch_size, *z.shape[1:])
    times = torch.ones(config.batch_size, dtype=net.times, device=z.device)
    graph_training(net.unet, torch.zeros(shape, device=z.device), times)
