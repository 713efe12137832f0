"""AnoDDPM: partial diffusion of the image with simplex noise (Wyatt, Leach, Schmon and Willcocks 2022, CVPRW).

    x_t    = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps          eps: multi-scale simplex noise
    L      = mean (eps - eps_theta(x_t, t))^2                           t uniform in 1..T, T = 1000
    x_hat  = the reverse process from x_250 to 0, its noise simplex noise too
    score  = (x - x_hat)^2

White noise hides little of a lesion at a t that keeps the healthy anatomy; noise with large structures does. It has six
octaves of persistence 0.8, the first of 64 px for images of 256 px: a quarter of the side (`wavelength`).
Its standard deviation is not 1, as of white noise, but that of the authors' noise, which is taken as it comes:
OpenSimplex noise in three dimensions has 0.314 (by the integral of its kernel), so these octaves 0.505 (`noise_std`).
`noise=gaussian` is the paper's comparison. Read off the authors' code (github.com/Julian-Wyatt/AnoDDPM, `simplex.py`,
`GaussianDiffusion.py`): octaves, persistence, wavelength, betas linear from 0.0001 to 0.02, L_simple; in the reverse
process the estimate of x_0 is kept in [-1, 1]. The t of 250 and the square are the paper's.

Differs from the paper: the noise is made to be like slices of OpenSimplex noise in three dimensions, and is none; each
training image has its own (there: one field for a whole batch); the reverse steps have the posterior's variance, not
beta_t, and may be fewer (`reverse_steps`, with the variance of DDIM at eta = 1); the network is a smaller UNet without
attention; training images are slightly moved; weights are averaged.

| code       | paper                                   |
|------------|-----------------------------------------|
| `start_t`  | lambda, the t of partial diffusion      |
| `field`    | simplex noise                           |
| `x_hat`    | pseudo-healthy image                    |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.training.part import Size
from adbench_baselines.diffusion.pixels import FieldNet, SimplexConfig, SimplexDiffusion, centred, restored
from adbench_baselines.diffusion.schedule import ddim_step, descent, predict_eps, predict_x_0, q_sample
from adbench_baselines.networks.pixel import pixel_sizes

SIZES = pixel_sizes(smoke={"reverse_steps": 5}, t_last=300, reverse_steps=25)
"""Of those for CPUs: no t is learned that is never used, and a tenth of the steps back."""


class AnoDDPMConfig(SimplexConfig):
    steps: int = Field(100_000, ge=1, description="optimiser steps")
    start_t: int = Field(250, ge=1, description="t of partial diffusion")
    reverse_steps: int = Field(250, ge=1, description="steps from start_t to 0, evenly spaced; at most start_t")

    @model_validator(mode="after")
    def _start_is_trained(self) -> Self:
        self.check_trained("start_t", self.start_t)
        return self


class AnoDDPM(SimplexDiffusion[AnoDDPMConfig]):
    """AnoDDPM: squared residual to the image diffused part of the way with simplex noise and back."""

    Config = AnoDDPMConfig
    info = DetectorInfo("AnoDDPM: partial diffusion with simplex noise", "Wyatt et al. 2022", "1")
    family = "diffusion"
    kind = "anoddpm"
    inference_only = frozenset({"start_t", "reverse_steps"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"start_t": Integer(50, 300), "reverse_steps": Integer(5, 250, log=True)},
        training={"learning_rate": Real(1e-4, 5e-3, log=True), "noise": Choice(("simplex", "gaussian"))},
    )

    @property
    def path(self) -> Sequence[tuple[int, int]]:
        """Pairs (t, s) from `start_t` to 0."""
        return descent(self.config.start_t, self.config.reverse_steps)

    @property
    def passes(self) -> Mapping[str, int]:
        return {"reverse": len(self.path)}

    def network(self, size: Size) -> nn.Module:
        return FieldNet(self.config)

    def shortened(self, passes: int) -> Self:
        return self.with_settings(reverse_steps=min(passes, self.config.reverse_steps))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the squared residual, (B, 1, H, W) float32."""
        with self.stage("reverse", passes=len(self.path)):
            x_hat = restored(self.reversed(centred(images)))
        with self.stage("post"):
            return (images - x_hat).square()

    def reversed(self, x_0: Tensor) -> Tensor:
        """Return images in [-1, 1], (B, 1, H, W), diffused to `start_t` and brought back."""
        net, schedule, start = self.net, self.net.schedule, self.config.start_t
        x = q_sample(schedule, x_0, start, self.noise_at("start", start, x_0))
        for t, s in self.path:
            eps_theta = net(x, torch.full((len(x),), t, device=x.device))
            x_0_hat = predict_x_0(schedule, x, t, eps_theta).clamp(-1, 1)
            eps = predict_eps(schedule, x, t, x_0_hat)
            x = ddim_step(schedule, x, t, s, eps, 1.0, self.noise_at("step", t, x))
        return x
