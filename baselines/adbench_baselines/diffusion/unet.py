"""The diffusion model on latents, trained with L_simple."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from adbench.training.part import TrainedPart
from adbench_baselines.diffusion.latent_net import LatentNet, LatentNetConfig, draws_of_codes, latent_part
from adbench_baselines.diffusion.schedule import Schedule, q_sample

VERSION = 2
"""Raise it when the same configuration would train another network."""


class UNetConfig(LatentNetConfig):
    diffusion_steps: int = Field(1000, ge=10, lt=10_000, description="T")
    beta_first: float = Field(0.0015, gt=0, lt=1, description="beta_1")
    beta_last: float = Field(0.0195, gt=0, lt=1, description="beta_T; linear in the square root between")
    t_first: int = Field(1, ge=1, description="first t that training draws")
    t_last: int | None = Field(None, ge=1, description="last t that training draws; null: T, as in the paper")

    @model_validator(mode="after")
    def _trained_steps_lie_in_the_chain(self) -> UNetConfig:
        if not self.t_first < self.trained.stop - 1 <= self.diffusion_steps:
            raise ValueError(
                f"t_first < t_last <= T is needed, got {self.t_first}, {self.t_last}, T = {self.diffusion_steps}"
            )
        return self

    @property
    def trained(self) -> range:
        """The steps t that training draws: the network knows no other."""
        return range(self.t_first, (self.t_last or self.diffusion_steps) + 1)


class LatentModel(LatentNet):
    """eps_theta(x_t, t) of (B, n_z, h, w) and (B,) steps in 1..T."""

    def __init__(self, config: UNetConfig, latent_channels: int) -> None:
        super().__init__(config, latent_channels, latent_channels)
        self.config = config
        self.schedule = Schedule.scaled_linear(config.diffusion_steps, config.beta_first, config.beta_last)


def simple_loss(module: LatentModel, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """L_simple = E || eps - eps_theta(x_t, t) ||^2, t uniform in the trained steps, 1..T in Ho et al. 2020, eq. 14."""
    trained = module.config.trained
    t = torch.randint(trained.start, trained.stop, (len(x_0),), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    x_t = q_sample(module.schedule, x_0, t, eps)
    return (module(x_t, t.to(x_0.device)) - eps).square().mean()


def part(config: UNetConfig, vqvae: TrainedPart) -> TrainedPart:
    """The part that the latent methods share, on the latents of `vqvae`."""
    return latent_part(
        "unet", VERSION, config, vqvae, lambda n: LatentModel(config, n), simple_loss, draws_of_codes, title="UNet"
    )
