"""Diffusion on pixels conditioned on a code of the image itself (cDDPM; Behrendt et al. 2023, arXiv 2312.04215).

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps       eps: simplex noise, as in pDDPM
    L   = mean |x_0 - f(x_t, t, c(x_0))|                          t uniform in 1..T, T = 1000

c is a small convolutional network whose last map is averaged over all pixels: it tells f how bright the image is and
what contrast it has, but not where anything is. It is trained together with f.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.search import Choice, Domain, Real
from adbench.devices.device import autocast
from adbench.training.part import Size
from adbench_baselines.diffusion.pixels import DiffusedNet, SimplexConfig, SimplexDiffusion, centred
from adbench_baselines.diffusion.schedule import q_sample
from adbench_baselines.networks.pixel import norm, pixel_sizes

CONDITIONED_SIZES = pixel_sizes()
CONDITIONED_SEARCH: dict[str, Domain] = {
    "learning_rate": Real(1e-4, 5e-3, log=True),
    "noise": Choice(("simplex", "gaussian")),
}


class ConditionedConfig(SimplexConfig):
    schedule: Literal["linear", "cosine"] = Field("cosine", description="of beta_t, or of alpha_bar_t")
    steps: int = Field(100_000, ge=1, description="optimiser steps")
    noise_dimensions: Literal[2, 3] = Field(2, description="of noise=simplex: in the plane, or a slice of three")
    noise_std: float = Field(
        0.592, gt=0, description="standard deviation of noise=simplex: what six octaves of OpenSimplex noise have"
    )
    wavelength: float = Field(2 / 3, gt=0, description="of the first octave, over the image's shorter side")
    network_batch: int = Field(
        256, ge=1, le=4096, description="images that reconstructions are put together to in one pass"
    )


class ImageCode(nn.Module):
    """c: images (B, 1, H, W) -> (B, outputs), by one convolution of stride 2 a level and a mean over all pixels."""

    def __init__(self, config: ConditionedConfig, outputs: int) -> None:
        super().__init__()
        self.patch, widths = config.patch_px, config.channels
        layers: list[nn.Module] = []
        for inputs, width in zip((self.patch**2, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, width, 3, stride=2, padding=1), norm(width), nn.SiLU()]
        self.levels = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], outputs)

    def forward(self, images: Tensor) -> Tensor:
        with autocast(images.device):
            code: Tensor = self.last(self.levels(F.pixel_unshuffle(images, self.patch)).mean((2, 3)))
        return code


class ConditionedNet(DiffusedNet):
    """f(x_t, t, c(x)): x_0 of x_t (B, 1, H, W), t (B,) and the code of the image that x_t was made from."""

    def __init__(self, config: ConditionedConfig) -> None:
        super().__init__(config)
        self.config = config
        self.code = ImageCode(config, self.unet.width)

    def forward(self, x_t: Tensor, t: Tensor, code: Tensor | None = None) -> Tensor:
        """Return x_0_hat; without a code, that of x_t."""
        x_0_hat: Tensor = self.unet(x_t, t, self.code(x_t) if code is None else code)
        return x_0_hat

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean of |x_0 - f|."""
        n, _, height, width = images.shape
        t, x_0 = self.steps(n, generator), centred(images)
        eps = self.config.field(n, (height, width), generator).to(images.device)
        x_t = q_sample(self.schedule, x_0, t, eps)
        return (x_0 - self(x_t, t.to(images.device), self.code(x_0))).abs().mean()


ConfigT = TypeVar("ConfigT", bound=ConditionedConfig)


class Conditioned(SimplexDiffusion[ConfigT]):
    """Base of the detectors that share this network."""

    kind = "cddpm"
    presets = CONDITIONED_SIZES

    def network(self, size: Size) -> nn.Module:
        return ConditionedNet(self.config)

    def redrawn(self, x_0: Tensor, times: Sequence[int]) -> Tensor:
        """Return x_0_hat of images in [-1, 1], (B, 1, H, W), noised to each t anew: (times, B, 1, H, W).

        Several share a pass where the batch is small.
        """
        code, estimates, n = self.net.code(x_0), [], len(x_0)
        eps = [self.noise_at(f"draw {number}", t, x_0) for number, t in enumerate(times)]
        together = max(1, self.config.network_batch // n)
        for start in range(0, len(times), together):
            chunk = torch.tensor(times[start : start + together]).repeat_interleave(n)
            noise = torch.cat(eps[start : start + together]).repeat_interleave(n, 0)
            x, c = (tensor.repeat(len(chunk) // n, *(1,) * (tensor.ndim - 1)) for tensor in (x_0, code))
            x_t = q_sample(self.net.schedule, x, chunk, noise)
            estimates.append(self.net(x_t, chunk.to(x.device), c).unflatten(0, (-1, n)))
        return torch.cat(estimates)
