"""Foreign patch interpolation (Tan, Hou, Batten, Qiu and Kainz 2020, arXiv 2011.04197; MELBA 2022).

    x~     = (1 - alpha) x_i + alpha x_j  in a patch at the same place of two healthy images, x_i elsewhere
    alpha  ~ U(0.05, 0.95), one a patch
    y      = alpha where the patch changed x_i, else 0
    L      = - mean of y log A + (1 - y) log(1 - A),     A = sigmoid(f(x~))
    score  = A of the image as it is

A is the blend factor itself and no binary mask: the better a patch fits, the less it counts. Read off the authors' code
(github.com/jemtan/FPI, `self_sup_task.py`): alpha; half-widths of 5 to 20 % of the image side, so sides of 10 to 40 %;
centres in the middle 80 %; patches cut off at the border; y = 0 where both images have the same value; both images of a
pair are used, each with the other's patch.

Differs from the paper: f is a UNet, not a wide residual network; a pair is an image and the one before it in a random
batch, each with a patch of its own; side and centre are not rounded to whole pixels; training images are slightly
moved, as for the VQ-VAE (`augmentation=0`: not); weights are averaged (`ema_decay=0`: not).

| code      | paper           |
|-----------|-----------------|
| `images`  | x_i             |
| `foreign` | x_j             |
| `weight`  | y               |
| `logits`  | f(x~)           |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Real, SearchSpace
from adbench.training.part import Size
from adbench_baselines.networks.pixel import PixelConfig, PixelUNet, pixel_sizes
from adbench_baselines.networks.single import SingleNetwork
from adbench_baselines.synthetic.patches import blended, foreign, squares, uniform

SIZES = pixel_sizes()


class FPIConfig(PixelConfig):
    steps: int = Field(50_000, ge=1, description="optimiser steps")
    learning_rate: float = Field(1e-3, gt=0)
    alpha_first: float = Field(0.05, ge=0, le=1, description="least blend factor")
    alpha_last: float = Field(0.95, ge=0, le=1, description="largest blend factor")
    side_first: float = Field(0.1, gt=0, le=1, description="least side of a patch over the image's shorter side")
    side_last: float = Field(0.4, gt=0, le=1, description="largest")

    def model_post_init(self, context: object) -> None:
        for name in ("alpha", "side"):
            first, last = getattr(self, f"{name}_first"), getattr(self, f"{name}_last")
            if first > last:
                raise ValueError(f"{name}_first <= {name}_last is needed, got {first} and {last}")


class BlendNet(nn.Module):
    """x (B, 1, H, W) -> A, (B, 1, H, W) in [0, 1]."""

    def __init__(self, config: FPIConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = PixelUNet(config)

    def forward(self, images: Tensor) -> Tensor:
        alpha: Tensor = self.unet(images).sigmoid()
        return alpha

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean binary cross-entropy of A and alpha."""
        mixed, weight = interpolated(images, self.config, generator)
        return F.binary_cross_entropy_with_logits(self.unet(mixed), weight)


def interpolated(images: Tensor, config: FPIConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return x~ and y of healthy images, both (B, 1, H, W)."""
    n, _, height, width = images.shape
    patch = squares(n, (height, width), config.side_first, config.side_last, generator)
    alpha = uniform(n, config.alpha_first, config.alpha_last, generator)
    others, weight = foreign(images), (patch * alpha).to(images.device)
    return blended(images, others, weight), weight * (images != others)


class FPI(SingleNetwork[FPIConfig]):
    """Foreign patch interpolation: how much of another image a network sees at each pixel."""

    Config = FPIConfig
    info = DetectorInfo("FPI: blend factor of foreign patches", "Tan et al. 2020", "1")
    family = "synthetic"
    knowledge = "synthetic anomalies"
    kind = "fpi"
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        training={"learning_rate": Real(1e-4, 5e-3, log=True), "side_last": Real(0.1, 0.6)},
    )

    @property
    def factor(self) -> int:
        return self.config.factor

    @property
    def passes(self) -> Mapping[str, int]:
        return {"predict": 1}

    def network(self, size: Size) -> nn.Module:
        return BlendNet(self.config)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return A, (B, 1, H, W) float32."""
        with self.stage("predict", passes=1):
            alpha: Tensor = self.net(images)
            return alpha
