"""ANDi: aggregated normative diffusion (Frotscher, Kapoor, Wolfers and Baumgartner 2023, arXiv 2312.01904).

    d_t    = (mu_q(x_t, x_0) - mu_theta(x_t, t))^2              x_t drawn from x_0 with white noise
    score  = (prod_t d_t)^(1 / n) over n values of t from 75 to 199
    L      = mean (eps - eps_theta(x_t, t))^2                   eps: pyramid noise, t uniform in 1..T, T = 1000

mu_q is the mean of q(x_{t-1} | x_t, x_0), mu_theta that of the network's step. d_t is the KL term of the latent methods
without its weight: KL = d_t / (2 beta_tilde_t), and is taken from there. A geometric mean counts pixels that differ at
every t. Read off the authors' code, as far as copies of it show: beta_t linear, d_t, t from 75 to 199, the pyramid with
discount 0.8 and its grids, a 5 x 5 median filter among its tools (`median_px`).

Differs from the paper: one channel and not four; the same noise at a t for every image; fewer values of t in presets
for CPUs; the network is a smaller UNet without attention; training images are slightly moved; weights are averaged.

| code              | paper                            |
|-------------------|----------------------------------|
| `differences`     | d_t                              |
| `t_low`, `t_high` | T_l, T_u; T_u itself is left out |
| `pyramid`         | Gaussian pyramidal noise         |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.training.part import Size
from adbench_baselines.diffusion.kl import NoiseModel, kl_terms
from adbench_baselines.diffusion.noise import pyramid, white
from adbench_baselines.diffusion.pixels import DiffusedConfig, NoiseNet, centred
from adbench_baselines.diffusion.schedule import spaced
from adbench_baselines.images.filters import median
from adbench_baselines.networks.pixel import TimedNetwork, pixel_sizes

SIZES = pixel_sizes(smoke={"timesteps": 5}, t_last=300, timesteps=25)
"""Of those for CPUs: no t is learned that is never used."""


class ANDiConfig(DiffusedConfig):
    steps: int = Field(100_000, ge=1, description="optimiser steps")
    training_noise: Literal["pyramid", "gaussian"] = Field("pyramid", description="noise that the network learns")
    discount: float = Field(0.8, ge=0, le=1, description="amplitude of a grid of the pyramid over the one before")
    t_low: int = Field(75, ge=2, description="first t of the map")
    t_high: int = Field(200, ge=3, description="end of the range of t, itself left out")
    timesteps: int = Field(125, ge=1, description="evenly spaced values of t in that range, each a network pass")
    median_px: int = Field(5, ge=1, le=63, description="side of the median filter on scores, odd; 1 for none")
    network_batch: int = Field(
        256, ge=1, le=4096, description="images that values of t are put together to in one pass"
    )

    @model_validator(mode="after")
    def _range_is_trained(self) -> Self:
        if self.t_low >= self.t_high:
            raise ValueError(f"t_low < t_high is needed, got {self.t_low} and {self.t_high}")
        if self.median_px % 2 == 0:
            raise ValueError(f"median_px must be odd, got {self.median_px}")
        self.check_trained("t_high - 1", self.t_high - 1)
        return self


class PyramidNet(NoiseNet):
    """eps_theta of pyramid noise."""

    def __init__(self, config: ANDiConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Tensor:
        if self.config.training_noise == "gaussian":
            return white(n, size, generator)
        return pyramid(n, size, self.config.discount, generator)


def differences(
    model: NoiseModel, x_0: Tensor, times: Sequence[int], seed: int, network_batch: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield t and d_t (B, H, W) of images in [-1, 1], (B, 1, H, W), for each of `times`, all from 2 on."""
    weight, left = 2 * model.schedule.beta_tilde, iter(times)
    for terms in kl_terms(model, x_0, times, seed, "beta_tilde", network_batch):
        for term in terms:
            t = next(left)
            yield t, term * float(weight[t])


class ANDi(TimedNetwork[ANDiConfig]):
    """ANDi: geometric mean over t of the squared difference of predicted and true backward means."""

    Config = ANDiConfig
    info = DetectorInfo("ANDi: aggregated differences of backward transitions", "Frotscher et al. 2023", "1")
    family = "diffusion"
    kind = "andi"
    inference_only = frozenset({"t_low", "t_high", "timesteps", "median_px", "network_batch"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={
            "t_low": Integer(2, 150),
            "t_high": Integer(160, 300),
            "timesteps": Integer(5, 125, log=True),
            "median_px": Choice((1, 3, 5, 7)),
        },
        training={"learning_rate": Real(1e-4, 5e-3, log=True), "training_noise": Choice(("pyramid", "gaussian"))},
    )

    @property
    def times(self) -> Sequence[int]:
        """The values of t of the map."""
        return spaced(self.config.t_low, self.config.t_high, self.config.timesteps)

    @property
    def passes(self) -> Mapping[str, int]:
        return {"differences": len(self.times)}

    def network(self, size: Size) -> nn.Module:
        return PyramidNet(self.config)

    def shortened(self, passes: int) -> Self:
        return self.with_settings(timesteps=min(passes, self.config.timesteps))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the geometric mean of d_t over t, (B, 1, H, W) float32, median-filtered."""
        total, c = torch.zeros_like(images), self.config
        with self.stage("differences", passes=len(self.times)):
            for _, d in differences(self.net, centred(images), self.times, self.runtime.seed, c.network_batch):
                total += d[:, None].clamp(min=torch.finfo(d.dtype).tiny).log()
        with self.stage("post"):
            return median((total / len(self.times)).exp(), c.median_px)
