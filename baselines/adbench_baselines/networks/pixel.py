"""A UNet on pixels that may know a step t, and the config of the methods that train one.

    x (B, 1, H, W) -> patches of p x p pixels as p^2 channels -> UNet of residual blocks that know t -> (B, 1, H, W)

Two 3 x 3 convolutions a block, each after group norm and SiLU; average pooling down, nearest neighbours up, one block a
level each way. t enters as in Ho et al. 2020: sines and cosines of t, two dense layers, a shift of each block's
channels. The last convolution starts at 0. A network with p = 2 works on half the side: a quarter of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from adbench.devices.device import autocast
from adbench_baselines.networks.single import NetworkConfig, SingleNetwork

WAVES = 32
"""Sines of t, and as many cosines."""


class PixelConfig(NetworkConfig):
    """Size of the UNet, and how it is trained."""

    channels: tuple[int, ...] = Field((64, 128, 256, 256), min_length=1, description="channels of every level")
    patch_px: int = Field(1, ge=1, le=4, description="p, side of the patches that the UNet takes as its pixels")
    batch_size: int = Field(32, ge=2)

    @property
    def factor(self) -> int:
        """Image side over the side of the smallest feature map."""
        return int(self.patch_px * 2 ** (len(self.channels) - 1))


def pixel_sizes(smoke: Mapping[str, Any] | None = None, **of_cpus: Any) -> dict[str, dict[str, Any]]:
    """The five presets of a method that trains such a network for as long as others do.

    of_cpus: fields of all presets but `paper`; smoke: those in which that one differs.
    """
    shared = {"patch_px": 2, "batch_size": 16, "learning_rate": 1e-3, **of_cpus}
    return {
        "smoke": {**shared, "channels": (8, 16), "steps": 30, **(smoke or {})},
        "demo": {**shared, "channels": (16, 32, 64), "steps": 400, "learning_rate": 3e-3, "ema_decay": 0.99},
        "small": {**shared, "channels": (32, 64, 128), "steps": 3000},
        "standard": {**shared, "channels": (32, 64, 128), "steps": 8000},
        "paper": {},
    }


class Block(nn.Module):
    """x + two convolutions, the first shifted by t."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shift = nn.Linear(time, outputs)
        self.second = nn.Sequential(norm(outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        inside: Tensor = self.second(self.first(x) + self.shift(time)[..., None, None])
        return inside + self.skip(x)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


class PixelUNet(nn.Module):
    """x (B, inputs, H, W) and steps t (B,) -> (B, 1, H, W) float32, unbounded; without t every image is at t = 0.

    A condition (B, width) is added to what the network makes of t.
    """

    def __init__(self, config: PixelConfig, inputs: int = 1) -> None:
        super().__init__()
        self.patch, self.width = config.patch_px, 4 * config.channels[0]
        widths, time = config.channels, self.width
        self.time = nn.Sequential(nn.Linear(2 * WAVES, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.first = nn.Conv2d(inputs * self.patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(i, o, time) for i, o in zip((widths[0], *widths), widths, strict=False))
        pairs = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList(Block(i + o, o, time) for i, o in pairs)
        last = nn.Conv2d(widths[0], self.patch**2, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.last = nn.Sequential(norm(widths[0]), nn.SiLU(), last)
        # in one layout always: another one is another order of sums, and a loaded network would give other scores
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, t: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        t = torch.zeros(len(images), device=images.device) if t is None else t
        with autocast(images.device):
            time = self.time(waves(t))
            time = time if condition is None else time + condition
            x, skips = self.first(F.pixel_unshuffle(images, self.patch)), []
            for level, down in enumerate(self.down):
                x = down(F.avg_pool2d(x, 2) if level else x, time)
                skips.append(x)
            skips.pop()
            for up in self.up:
                x = up(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], 1), time)
            out: Tensor = F.pixel_shuffle(self.last(x), self.patch)
        return out.float()


def waves(t: Tensor) -> Tensor:
    """Return sines and cosines of t (B,), of wavelengths from 2 pi to 20,000 pi: (B, 2 * WAVES)."""
    rate = torch.exp(-math.log(10_000) * torch.arange(WAVES, device=t.device) / WAVES)
    angle = t[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


ConfigT = TypeVar("ConfigT", bound=PixelConfig)


class TimedNetwork(SingleNetwork[ConfigT]):
    """Base of detectors whose one network takes images and steps t, as `PixelUNet` does."""

    @property
    def factor(self) -> int:
        return self.config.factor

    def one_pass(self, net: Any, images: Tensor) -> Tensor:
        out: Tensor = net(images, torch.ones(len(images), device=images.device))
        return out
