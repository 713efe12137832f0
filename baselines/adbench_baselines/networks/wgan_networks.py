"""The residual networks of WGAN-GP and f-AnoGAN (Gulrajani et al. 2017; Schlegl et al. 2019).

Those of the authors' code for 64 x 64 images go from and to a grid of 4 x 4; other sizes get more or fewer levels.

Differs from the paper: images are in [0, 1] and not in [-1, 1]: slopes and losses are in these units.
Differs from the paper: the encoder has the critic's layer norm and not batch norm, so that batches do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from adbench.devices.device import in_float32
from adbench.errors import ConfigError

GRID = 4
"""Least side of the coarsest level."""


class WGANConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, ge=1, description="channels at full size; twice as many a level, up to 8 times")
    latent_dim: int = Field(128, ge=1, description="size of z")
    critic_steps: int = Field(5, ge=1, description="critic updates a generator update")
    penalty_weight: float = Field(10.0, ge=0, description="lambda, weight of the gradient penalty")
    steps: int = Field(20_000, ge=1, description="generator updates")
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(1.0, ge=0, le=1, description="fraction kept at the end of a half cosine")
    beta1: float = Field(0.0, ge=0, lt=1, description="of Adam")
    beta2: float = Field(0.9, ge=0, lt=1, description="of Adam")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the generator's moving average; 0 for none")


def levels_of(size: Sequence[int]) -> int:
    """Return how often images of (H, W) are halved: to a shorter side of 4 to 7 positions. Raises ConfigError."""
    height, width = size
    levels = int(math.log2(max(1, min(height, width) // GRID)))
    if levels < 1 or height % 2**levels or width % 2**levels:
        raise ConfigError(
            f"f-AnoGAN halves images until their shorter side is 4 to 7, so both sides must be at least {2 * GRID} and "
            f"multiples of {2 ** max(1, levels)} here, got {height} x {width}. Choose a size such as 64, 128 or 256."
        )
    return levels


def channels_of(width: int, levels: int) -> list[int]:
    """Return the channels of every level, from full size to the grid."""
    return [width * min(2**level, 8) for level in range(levels + 1)]


def layer_norm(channels: int) -> nn.Module:
    """Normalise each sample over all its dimensions, then scale and shift channels."""
    return nn.GroupNorm(1, channels)


class ConvMeanPool(nn.Conv2d):
    """A 3x3 convolution and the mean over 2x2 of its output, as the one 4x4 convolution that they are together."""

    def forward(self, input: Tensor) -> Tensor:
        shifts = [(right, 1 - right, down, 1 - down) for right in (0, 1) for down in (0, 1)]
        kernel = torch.stack([F.pad(self.weight, shift) for shift in shifts]).mean(0)
        return F.conv2d(input, kernel, self.bias, stride=2, padding=1)


class Block(nn.Module):
    """Residual block that halves or doubles the sides: norm, ReLU and convolution twice, beside a 1x1 shortcut."""

    def __init__(
        self, inputs: int, outputs: int, change: Literal["down", "up"], norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        inner, self.up = (outputs, True) if change == "up" else (inputs, False)
        self.norm1, self.norm2 = norm(inputs), norm(inner)
        self.conv1 = nn.Conv2d(inputs, inner, 3, padding=1, bias=False)
        self.conv2 = (nn.Conv2d if self.up else ConvMeanPool)(inner, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2) or (B, C', 2H, 2W)."""
        h = F.relu(self.norm1(x))
        if self.up:
            short, h = F.interpolate(self.shortcut(x), scale_factor=2), F.interpolate(h, scale_factor=2)
        else:
            short = self.shortcut(F.avg_pool2d(x, 2))
        out: Tensor = short + self.conv2(F.relu(self.norm2(self.conv1(h))))
        return out


class Generator(nn.Module):
    """G: z (B, n_z) -> images (B, 1, H, W) float32 in [0, 1]."""

    size: Tensor

    def __init__(self, config: WGANConfig, size: Sequence[int]) -> None:
        super().__init__()
        levels = levels_of(size)
        channels = channels_of(config.width, levels)[::-1]
        self.register_buffer("size", torch.tensor(list(size)))  # a loaded generator knows its image size from here
        self.grid = (channels[0], size[0] >> levels, size[1] >> levels)
        self.input = nn.Linear(config.latent_dim, math.prod(self.grid))
        self.blocks = nn.Sequential(*(Block(a, b, "up", nn.BatchNorm2d) for a, b in pairwise(channels)))
        self.norm = nn.BatchNorm2d(channels[-1])
        self.output = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.blocks(self.input(z).unflatten(1, self.grid))
        return torch.sigmoid(self.output(F.relu(self.norm(h))).float())


class Trunk(nn.Module):
    """Images (B, 1, H, W) in [0, 1] -> outputs (B, n); the shape of both critic and encoder."""

    def __init__(self, config: WGANConfig, size: Sequence[int], outputs: int) -> None:
        super().__init__()
        levels = levels_of(size)
        channels = channels_of(config.width, levels)
        self.input = nn.Conv2d(1, channels[0], 3, padding=1)
        self.blocks = nn.Sequential(*(Block(a, b, "down", layer_norm) for a, b in pairwise(channels)))
        self.output = nn.Linear(channels[-1] * (size[0] >> levels) * (size[1] >> levels), outputs)

    def features(self, images: Tensor) -> Tensor:
        """Return the last layer before the linear output, (B, 8 width, h, w)."""
        out: Tensor = self.blocks(self.input(2 * images - 1))
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, n) float32: a critic's mean may drift to where bfloat16 has no digits left for differences."""
        features = self.features(images)
        with in_float32(features.device):
            out: Tensor = self.output(features.float().flatten(1))
        return out
