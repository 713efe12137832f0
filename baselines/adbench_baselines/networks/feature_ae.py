"""An autoencoder of features, trained with SSIM (Meissen et al. 2022)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.devices.device import autocast
from adbench.training.config import TrainingConfig
from adbench_baselines.images.ssim import ssim_map
from adbench_baselines.networks.reconstruction import keep

SSIM_SIDE, SSIM_SIGMA = 5, 1.5


class FeatureAEConfig(TrainingConfig):
    channels: tuple[int, ...] = Field((100, 150, 200, 300), min_length=1, description="channels of every level")
    dropout: float = Field(0.1, ge=0, lt=1, description="rate of whole channels while training")
    steps: int = Field(10_000, ge=1, description="optimiser steps")
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    augmentation: float = Field(0.5, ge=0, le=1, description="probability of a small affine change an image")


class FeatureAE(nn.Module):
    """g: features (B, C, h, w) over their spread -> the same, float32; h and w are multiples of 2^levels."""

    spread: Tensor
    """(1, C, 1, 1), of healthy features."""

    def __init__(self, config: FeatureAEConfig, features: int) -> None:
        super().__init__()
        self.dropout, widths = config.dropout, (features, *config.channels)
        down = [nn.Conv2d(i, o, 5, stride=2, padding=2, bias=False) for i, o in pairwise(widths)]
        up = [nn.ConvTranspose2d(i, o, 6, stride=2, padding=2, bias=False) for i, o in pairwise(widths[::-1])]
        self.down, self.up = (nn.ModuleList(map(activated, convolutions)) for convolutions in (down, up))
        self.middle = nn.Conv2d(widths[-1], widths[-1], 5, padding=2, bias=False)
        self.last = nn.Conv2d(features, features, 1)
        self.register_buffer("spread", torch.ones(1, features, 1, 1))

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the restored features; dropout only with a generator."""

        def dropped(x: Tensor) -> Tensor:
            shape = torch.Size((*x.shape[:2], 1, 1))
            return x if generator is None else x * keep(shape, self.dropout, x, generator)

        with autocast(features.device):
            x = features
            for down in self.down:
                x = dropped(down(x))
            x = self.middle(x)
            for up in self.up:
                x = dropped(up(x))
            restored: Tensor = self.last(x)
        return restored.float()

    def losses(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Return L of features over their spread."""
        return -similarity(features, self(features, generator)).mean()


def activated(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """The convolution, group norm and LeakyReLU."""
    width = convolution.out_channels
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(8, width), width), nn.LeakyReLU())


def similarity(features: Tensor, restored: Tensor) -> Tensor:
    """Return the SSIM of features and their reconstruction (B, C, h, w), in windows of 5 with sigma 1.5."""
    return ssim_map(features, restored, SSIM_SIDE, SSIM_SIGMA)
