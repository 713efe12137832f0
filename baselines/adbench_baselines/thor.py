"""THOR: a reverse diffusion that is led back to the image where nothing looks anomalous (Bercea et al. 2024).

    x_350   = sqrt(alpha_bar_t) x + sqrt(1 - alpha_bar_t) eps             eps: white noise; L as in Ho et al. 2020
    x_hat_t = the estimate of x_0 on the way back, in [-1, 1]
    a_t     = s_t |x - x_hat_t| over its largest value in the image        s_t: dissimilarity, smoothed by 2 px
    m_t     = (dilated(closed(a_t)) + a_t) / 2                             squares of 13 px of images of 128 px
    x_t     <- noised again from m_t x_hat_t + (1 - m_t) x                 at t = 300, 150 and 50, with the same eps
    score   = harmonic mean of a_t over t = 300, 250, ..., 50, 0

What the maps of the way back call healthy is put back from the image ("temporal harmonisation"), so that only what is
anomalous is drawn anew; the harmonic mean keeps what all of them find. arXiv 2403.08464. Read off the authors' code
(github.com/ci-ber/THOR_DDPM, `model_zoo/ddpm.py` and the configuration `thor.yaml` of the brain): the steps and times,
the maps, the morphology, the mean. There is a configuration with simplex noise too: `noise=simplex`.

Differs from the paper: s_t is 1 - SSIM, 0 where that is negative, for the authors' LPIPS needs weights that others
trained; what is noised again lies in [-1, 1] (there in [0, 1], which drops what is dark); noise is the same for all
images; the reverse steps have the posterior's variance and may be fewer (`reverse_steps`); the network is a smaller
UNet without attention; training images are slightly moved; weights are averaged.

| code            | paper                                  |
|-----------------|----------------------------------------|
| `start_t`       | noise level                            |
| `anomaly`       | a_t, temporal anomaly map              |
| `region`        | m_t                                    |
| `harmonised_at` | times of harmonisation                 |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.training.part import Size
from adbench_baselines.diffusion.pixels import FieldNet, SimplexConfig, SimplexDiffusion, centred, restored
from adbench_baselines.diffusion.schedule import ddim_step, descent, predict_eps, predict_x_0, q_sample
from adbench_baselines.images.filters import gaussian
from adbench_baselines.images.ssim import ssim_map
from adbench_baselines.networks.pixel import pixel_sizes

SSIM_PX, SSIM_SIGMA, SMOOTH_PX = 7, 1.5, 2.0
NEVER_0 = 1e-8
"""Added to what is divided by."""
SIZES = pixel_sizes(smoke={"reverse_steps": 7}, t_last=400, reverse_steps=35)
"""Of those for CPUs: no t is learned that is never used, and a tenth of the steps back."""


class ThorConfig(SimplexConfig):
    noise: Literal["simplex", "gaussian"] = Field("gaussian", description="in training and in scoring")
    steps: int = Field(100_000, ge=1, description="optimiser steps")
    start_t: int = Field(350, ge=2, description="t of partial diffusion")
    reverse_steps: int = Field(350, ge=1, description="steps from start_t to 0, evenly spaced; at most start_t")
    harmonised_at: tuple[int, ...] = Field(
        (300, 150, 50), description="t at which the image is put back, below start_t"
    )
    map_every: int = Field(50, ge=1, description="t between the maps that the score is the mean of")
    reach: float = Field(13 / 128, gt=0, lt=1, description="side of the squares of m_t, over the image's shorter side")

    @model_validator(mode="after")
    def _times_lie_in_the_chain(self) -> Self:
        self.check_trained("start_t", self.start_t)
        if not all(0 < t < self.start_t for t in self.harmonised_at):
            raise ValueError(f"harmonised_at must lie between 0 and start_t={self.start_t}, got {self.harmonised_at}")
        return self

    @property
    def path(self) -> Sequence[tuple[int, int]]:
        """Pairs (t, s) from `start_t` to 0."""
        return descent(self.start_t, self.reverse_steps)

    @property
    def mapped(self) -> frozenset[int]:
        """The t of the path with a map: the first at or below each multiple of `map_every`, and the last."""
        return self._on_path(range(self.map_every, self.start_t, self.map_every)) | {self.path[-1][0]}

    @property
    def harmonised(self) -> frozenset[int]:
        """The t of the path with harmonisation, the first at or below each that is asked for."""
        return self._on_path(self.harmonised_at)

    def _on_path(self, times: Sequence[int]) -> frozenset[int]:
        last = self.path[-1][0]
        return frozenset(next((t for t, _ in self.path if t <= time), last) for time in times)


class Thor(SimplexDiffusion[ThorConfig]):
    """THOR: harmonic mean of the anomaly maps of a way back that keeps what they call healthy."""

    Config = ThorConfig
    info = DetectorInfo("THOR: partial diffusion led back to what looks healthy", "Bercea et al. 2024", "1")
    family = "diffusion"
    kind = "thor"
    inference_only = frozenset({"start_t", "reverse_steps", "harmonised_at", "map_every", "reach"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"reverse_steps": Integer(7, 350, log=True), "map_every": Choice((25, 50, 100))},
        training={"learning_rate": Real(1e-4, 5e-3, log=True), "noise": Choice(("simplex", "gaussian"))},
    )

    @property
    def passes(self) -> Mapping[str, int]:
        return {"reverse": len(self.config.path)}

    def network(self, size: Size) -> nn.Module:
        return FieldNet(self.config)

    def shortened(self, passes: int) -> Self:
        return self.with_settings(reverse_steps=min(passes, self.config.reverse_steps))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the harmonic mean of the maps, (B, 1, H, W) float32."""
        with self.stage("reverse", passes=len(self.config.path)):
            maps = self.maps(images)
        with self.stage("post"):
            return 1 / torch.stack([1 / (map_ + NEVER_0) for map_ in maps]).mean(0)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return a_t (B, 1, H, W) of images in [0, 1], from the first to the last."""
        net, schedule, config = self.net, self.net.schedule, self.config
        x_0, maps = centred(images), []
        start, side = self.noise_at("start", config.start_t, x_0), odd(config.reach * min(self.size))
        x = q_sample(schedule, x_0, config.start_t, start)
        for t, s in config.path:
            eps_theta = net(x, torch.full((len(x),), t, device=x.device))
            x_0_hat = predict_x_0(schedule, x, t, eps_theta).clamp(-1, 1)
            a_t = anomaly(images, restored(x_0_hat))
            if t in config.mapped:
                maps.append(a_t)
            if t in config.harmonised:
                m_t = region(a_t, side)
                x = q_sample(schedule, m_t * x_0_hat + (1 - m_t) * x_0, s, start)
            else:
                eps = predict_eps(schedule, x, t, x_0_hat)
                x = ddim_step(schedule, x, t, s, eps, 1.0, self.noise_at("step", t, x))
        return maps


def odd(side: float) -> int:
    """The odd number of pixels nearest to a side."""
    return 2 * round((side - 1) / 2) + 1


def anomaly(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return a_t of images and their estimates (B, 1, H, W) in [0, 1]: 0 to 1, and 1 where an image has its largest."""
    dissimilar = gaussian((1 - ssim_map(x, x_hat, SSIM_PX, SSIM_SIGMA)).clamp(0, 1), SMOOTH_PX)
    maps = dissimilar * (x - x_hat).abs()
    return maps / (maps.amax((1, 2, 3), keepdim=True) + NEVER_0)


def region(maps: Tensor, side: int) -> Tensor:
    """Return m_t (B, 1, H, W): maps, and around them squares of `side` pixels, grey dilation after grey closing."""
    closed = -_dilated(-_dilated(maps, side), side)
    return ((_dilated(closed, side) + maps) / 2).clamp(0, 1)


def _dilated(maps: Tensor, side: int) -> Tensor:
    """The largest value in the square around each pixel; the border is repeated."""
    return F.max_pool2d(F.pad(maps, (side // 2,) * 4, mode="replicate"), side, stride=1)
