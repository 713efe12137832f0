"""Rectified flow on latents (Liu, Gong and Liu 2022, arXiv 2209.03003): straight paths from z_0 to z_1.

dz_t = v(z_t, t) dt,    z_t = (1 - t) z_0 + t z_1,    L = mean (v(z_t, t) - (z_1 - z_0))^2
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from adbench_baselines.diffusion.latent_net import LatentNet, LatentNetConfig

TIMES = 1000
"""What t = 1 is to the network, whose waves are those of a thousand steps."""


class VelocityNet(LatentNet):
    """v(z_t, t) of latents (B, n_z, h, w) and t (B,) in [0, 1]."""

    times: ClassVar[torch.dtype] = torch.float32

    def __init__(self, config: LatentNetConfig, latent_channels: int) -> None:
        super().__init__(config, latent_channels, latent_channels)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return super().forward(x_t, TIMES * t)


class StraightenedNet(VelocityNet):
    """The second stage, which learns the ends of the paths of the first."""

    first: tuple[VelocityNet, ...] = ()
    """The network of the first stage while training; without one, as while planning, it is this one."""

    def start(self, first: VelocityNet) -> None:
        """Begin with the weights of the first stage."""
        self.load_state_dict(first.state_dict())
        self.first = (first,)  # in a tuple it is no part of this network

    @torch.no_grad()
    def ends(self, z_0: Tensor, steps: int) -> Tensor:
        """Return where the first stage leads z_0."""
        return euler(self.first[0] if self.first else self, z_0, steps)


def euler(net: VelocityNet, z: Tensor, steps: int) -> Tensor:
    """Return latents (B, n_z, h, w) after `steps` equal steps of dz = v(z, t) dt from t = 0 to 1."""
    for k in range(steps):
        z = z + net(z, torch.full((len(z),), k / steps, device=z.device)) / steps
    return z


def velocity_error(net: VelocityNet, z_0: Tensor, z_1: Tensor, generator: torch.Generator) -> Tensor:
    """Return L of pairs of latents (B, n_z, h, w)."""
    t = torch.rand(len(z_0), generator=generator).to(z_0.device)
    z_t = z_0 + t[:, None, None, None] * (z_1 - z_0)
    return (net(z_t, t) - (z_1 - z_0)).square().mean()
