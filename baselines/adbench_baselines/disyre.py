"""Diffusion-inspired synthetic restoration (Naval Marimont et al. 2023, arXiv 2311.15453; v2: 2024, arXiv 2407.06635).

    x_t        = (1 - alpha_t m) x_0 + alpha_t m x_fp          t = 1..T, alpha_t rises with t to almost 1
    alpha_t    = sqrt(prod_{s <= T + 1 - t} (1 - beta_s))      beta_s linear from 0.001 to 0.2, T = 100
    x_hat      = x_t + f(x_t, t),     L = mean (x_0 - x_hat)^2
    single     : score = mean over t of |x - x_hat(x, t)|                                       (v2; the default)
    multiple   : x_T = x, x_s = x_hat + alpha_s / alpha_t (x_t - x_hat), score = |x - x_hat_1|  (v1)

m is a smooth random shape, x_fp another healthy training image, moved: what it shows in m comes from elsewhere. x is
the image as it is, taken for a corrupted one of any t. Read off the authors' code (github.com/snavalm/disyre,
`diffusion/scheduler.py`, `preprocessing/fpi.py`, `trainer_disyre.py`): beta, T and alpha; the blend; the squared error;
both ways of restoring, of which "mean-single-step" is the default there; x_s, which stays in [0, 1].

Differs from the paper: t is uniform, and every training image is corrupted (there alpha is uniform, t the nearest, and
part of the images stay as they are; the network's t counts down as alpha rises); m is drawn here and not taken from a
set of deformed shapes; x_fp is a whole image rolled by up to a quarter of its side, not a crop; v2's further corruption
(bias of intensity) is left out, and so is the weight of the foreground; f adds to its input, and is a smaller UNet;
v1's score is that of the last restoration, where the code adds up what every step changes; scores where the image is 0
are kept (there: set to 0).

| code      | paper                                    |
|-----------|------------------------------------------|
| `alpha`   | alpha_t, index 0 for t = 0 where it is 0 |
| `shapes`  | m                                        |
| `x_fp`    | foreign patch                            |
| `x_hat`   | restored image                           |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.training.part import Size
from adbench_baselines.diffusion.schedule import Schedule, descent, spaced
from adbench_baselines.networks.pixel import PixelConfig, PixelUNet, TimedNetwork, pixel_sizes
from adbench_baselines.synthetic.patches import blended, foreign, shapes, shifted

FURTHEST = 0.25
"""That a foreign image is moved by, at most, over its side."""

SIZES = pixel_sizes(timesteps=10)


class DISYREConfig(PixelConfig):
    steps: int = Field(100_000, ge=1, description="optimiser steps")
    corruption_steps: int = Field(100, ge=2, lt=10_000, description="T")
    beta_first: float = Field(1e-3, gt=0, lt=1, description="beta_1")
    beta_last: float = Field(0.2, gt=0, lt=1, description="beta_T; linear between")
    radius_first: float = Field(0.05, gt=0, le=1, description="least mean radius of a shape over the shorter side")
    radius_last: float = Field(0.2, gt=0, le=1, description="largest")
    softness_px: float = Field(1.0, gt=0, description="width of the edge of a shape in pixels")
    restoration: Literal["single", "multiple"] = Field(
        "single", description="mean residual of one restoration from every t (v2), or residual of a chain of them (v1)"
    )
    timesteps: int = Field(100, ge=1, description="values of t, evenly spaced, each a network pass")
    network_batch: int = Field(
        256, ge=1, le=4096, description="images that values of t are put together to in one pass"
    )

    def model_post_init(self, context: object) -> None:
        if self.radius_first > self.radius_last:
            raise ValueError(f"radius_first <= radius_last is needed, got {self.radius_first} and {self.radius_last}")


class Restorer(nn.Module):
    """x_t (B, 1, H, W) and t (B,) in 1..T -> x_hat."""

    def __init__(self, config: DISYREConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = PixelUNet(config)
        self.alpha = strengths(config.corruption_steps, config.beta_first, config.beta_last)

    def forward(self, images: Tensor, t: Tensor) -> Tensor:
        x_hat: Tensor = images + self.unet(images, t)
        return x_hat

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error of restorations from t uniform in 1..T."""
        t = torch.randint(1, self.config.corruption_steps + 1, (len(images),), generator=generator)
        x_t = corrupted(images, self.alpha[t], self.config, generator)
        return (images - self(x_t, t.to(images.device))).square().mean()


def strengths(steps: int, first: float, last: float) -> Tensor:
    """Return alpha_t float32 for t = 0..T; alpha_0 = 0, then rising."""
    alpha_bar = Schedule.linear(steps, first, last).alpha_bar
    return torch.cat([torch.zeros(1), alpha_bar[1:].flip(0).sqrt().float()])


def corrupted(images: Tensor, alpha: Tensor, config: DISYREConfig, generator: torch.Generator) -> Tensor:
    """Return x_t of healthy images (B, 1, H, W) with a strength each, (B,)."""
    n, _, height, width = images.shape
    x_fp = shifted(foreign(images), FURTHEST, generator)
    m = shapes(n, (height, width), config.radius_first, config.radius_last, config.softness_px, generator)
    return blended(images, x_fp, (alpha[:, None, None, None] * m).to(images.device))


class DISYRE(TimedNetwork[DISYREConfig]):
    """DISYRE: residual to what a network trained to undo synthetic corruption makes of the image."""

    Config = DISYREConfig
    info = DetectorInfo(
        "DISYRE: residual of a network that undoes gradual synthetic corruption",
        "Naval Marimont et al. 2023 and 2024",
        "1",
    )
    family = "synthetic"
    knowledge = "synthetic anomalies"
    kind = "disyre"
    inference_only = frozenset({"restoration", "timesteps", "network_batch"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"restoration": Choice(("single", "multiple")), "timesteps": Integer(1, 100, log=True)},
        training={"learning_rate": Real(1e-4, 5e-3, log=True), "radius_last": Real(0.1, 0.4)},
    )

    @property
    def times(self) -> Sequence[int]:
        """The values of t in one pass each."""
        return spaced(1, self.config.corruption_steps + 1, self.config.timesteps)

    @property
    def path(self) -> Sequence[tuple[int, int]]:
        """Pairs (t, s) from T to 0."""
        return descent(self.config.corruption_steps, self.config.timesteps)

    @property
    def passes(self) -> Mapping[str, int]:
        return {"restore": len(self.times)}

    def network(self, size: Size) -> nn.Module:
        return Restorer(self.config)

    def shortened(self, passes: int) -> Self:
        return self.with_settings(timesteps=min(passes, self.config.timesteps))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the residual, (B, 1, H, W) float32."""
        with self.stage("restore", passes=len(self.times)):
            if self.config.restoration == "single":
                return mean_residual(self.net, images, self.times, self.config.network_batch)
            return (images - restored(self.net, images, self.path)).abs()


def mean_residual(net: Restorer, images: Tensor, times: Sequence[int], network_batch: int) -> Tensor:
    """Return the mean over t of |x - x_hat|; several t share a pass of up to `network_batch` images."""
    total, together = torch.zeros_like(images), max(1, network_batch // len(images))
    for start in range(0, len(times), together):
        chunk = torch.tensor(times[start : start + together], device=images.device)
        x = images.repeat(len(chunk), 1, 1, 1)
        residual = (x - net(x, chunk.repeat_interleave(len(images)))).abs()
        total += residual.unflatten(0, (len(chunk), len(images))).sum(0)
    return total / len(times)


def restored(net: Restorer, images: Tensor, path: Sequence[tuple[int, int]]) -> Tensor:
    """Return x_hat of the last of a chain of restorations, each corrupted again to the next lower t."""
    x = images
    for t, s in path:
        x_hat = net(x, torch.full((len(x),), t, device=x.device))
        x = (x_hat + net.alpha[s] / net.alpha[t] * (x - x_hat)).clamp(0, 1)
    return x
