"""The diffusion model on latents: MONAI's `DiffusionModelUNet`, trained with L_simple on cached VQ-VAE codes.

Each image is encoded once as it is and `augmented_copies` times changed, and kept as codebook indices (two bytes a
position), so that a training step costs the UNet alone. Latents are standardised per channel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from adbench.contracts.detector import Images, Runtime
from adbench.contracts.plan import PartPlan
from adbench.devices.device import autocast
from adbench.storage.store import Checkpoint, PartSpec, changed_fields
from adbench.training.loop import loop_options, train
from adbench.training.streams import stream
from adbench_baselines.cuda_graphs import Replayed, graph_training
from adbench_baselines.schedule import Schedule, q_sample
from adbench_baselines.vqvae import VQVAE, augment

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


def part_spec(config: UNetConfig, healthy: Images, seed: int, vqvae: PartSpec) -> PartSpec:
    return PartSpec("unet", VERSION, changed_fields(config), healthy.fingerprint, seed, {"vqvae": vqvae.key})


def part_plan(
    config: UNetConfig, latent_shape: tuple[int, int, int], healthy: Images, runtime: Runtime, vqvae: PartSpec
) -> PartPlan:
    """The part as `--dry-run` shows it."""

    def build() -> tuple[nn.Module, Any]:
        module = LatentModel(config, latent_shape[0]).to(runtime.device).train()
        batch = torch.randn(config.batch_size, *latent_shape, device=runtime.device)
        return module, lambda: simple_loss(module, batch, torch.Generator().manual_seed(0)).backward()

    return PartPlan(part_spec(config, healthy, runtime.seed, vqvae), config.steps, build)


def simple_loss(module: LatentModel, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """L_simple = E || eps - eps_theta(x_t, t) ||^2, t uniform in the trained steps, 1..T in Ho et al. 2020, eq. 14."""
    trained = module.config.trained
    t = torch.randint(trained.start, trained.stop, (len(x_0),), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    x_t = q_sample(module.schedule, x_0, t, eps)
    return (module(x_t, t.to(x_0.device)) - eps).square().mean()


def fetch(
    config: UNetConfig, vqvae: VQVAE, vqvae_spec: PartSpec, healthy: Images, runtime: Runtime
) -> tuple[LatentModel, PartSpec]:
    """Return the trained diffusion model from the artifact store, training it where it is not there."""
    spec = part_spec(config, healthy, runtime.seed, vqvae_spec)
    torch.manual_seed(runtime.seed)
    module = LatentModel(config, vqvae.config.latent_channels)
    tensors = runtime.store.get(spec, lambda checkpoint: _train(module, vqvae, healthy, runtime, checkpoint))
    module.load_state_dict(tensors)
    return module.to(runtime.device).eval().requires_grad_(False), spec


def _train(
    module: LatentModel, vqvae: VQVAE, healthy: Images, runtime: Runtime, checkpoint: Checkpoint
) -> dict[str, Tensor]:
    config = module.config
    module.to(runtime.device)
    codes = encode_copies(vqvae, healthy, config.augmented_copies, runtime)
    z = vqvae.quantiser.embed(codes[0].to(runtime.device).long())
    module.mean.copy_(z.mean((0, 2, 3), keepdim=True))
    module.std.copy_(z.std((0, 2, 3), keepdim=True))

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        copies = torch.randint(len(codes), (config.batch_size,), generator=generator)
        chosen = torch.randint(codes.shape[1], (config.batch_size,), generator=generator)
        z = vqvae.quantiser.embed(codes[copies, chosen].to(runtime.device).long())
        return simple_loss(module, module.standardise(z), generator)

    shape = (config.batch_size, *z.shape[1:])
    steps = torch.ones(config.batch_size, dtype=torch.long, device=runtime.device)
    graph_training(module.unet, torch.zeros(shape, device=runtime.device), steps)
    options = loop_options("UNet", config, runtime.seed, longest_warmup=500)
    train(module, loss_of, options, checkpoint, runtime.progress)
    return {k: v.cpu() for k, v in module.state_dict().items()}


@torch.no_grad()
def encode_copies(vqvae: VQVAE, healthy: Images, copies: int, runtime: Runtime) -> Tensor:
    """Return (1 + copies, N, h, w) int16 codebook indices; copy 0 is of the images as they are."""
    batches = healthy.batches(256)
    stacks = []
    for copy in range(1 + copies):
        encoded = []
        for i, images in enumerate(batches):
            if copy:
                images = augment(images, 1.0, stream("encoding", runtime.seed, copy * len(batches) + i))
            with autocast(runtime.device):
                z_e = vqvae.encoder(images.to(runtime.device))
            encoded.append(vqvae.quantiser.indices(z_e).to(torch.int16).cpu())
            runtime.progress("encoding", copy * len(batches) + i + 1, (1 + copies) * len(batches))
        stacks.append(torch.cat(encoded))
    return torch.stack(stacks)
