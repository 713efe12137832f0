"""Patched diffusion (pDDPM; Behrendt, Bhattacharya, Krueger, Opfer and Schlaefer 2023, arXiv 2303.03758; MIDL 2023).

    x_t    = p (sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps) + (1 - p) x_0     p: mask of one patch of a grid
    L      = mean inside p of |x_0 - f(x_t, t)|                                      t uniform in 1..T, T = 1000
    x_hat  = sum over the patches of p f(x_t, t) at t = 500
    score  = median_5x5 |x - x_hat|

One patch at a time is noised and drawn anew in one pass, and the rest of the image is its context. The grid has no
overlap: patches of 48 px of images of 96 px, so two by two (`grid`). eps is simplex noise of six octaves of persistence
0.8, the first of 64 px, two thirds of the side (`wavelength`), in the plane; OpenSimplex noise there has a standard
deviation of 0.368 (by the integral of its kernel), so these octaves 0.592 (`noise_std`). Read off the authors' code
(github.com/FinnBehrendt/patched-Diffusion-Models-UAD, `DDPM_2D_patched.py`, `cond_DDPM.py`, `generate_noise.py`,
`utils_eval.py` and the configuration of MIDL23): boxes from the grid in training too, x_0 predicted, L1, the loss of
the patch alone, t of 500, a cosine schedule, the same noise for every patch, the noise, and the median filter.

Differs from the paper: L is a mean over the patch, not over the image; overlapping patches are left out; each training
image has its own noise (there: one field for a whole batch); the filter is of slices, not of scans; no brain mask is
known to erode, and nothing small is removed; the network is a smaller UNet without attention; training images are
slightly moved; weights are averaged.

| code      | paper                               |
|-----------|-------------------------------------|
| `cells`   | p, all of them                      |
| `test_t`  | t_test                              |
| `x_hat`   | reconstruction, put together        |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.training.part import Size
from adbench_baselines.diffusion.pixels import DiffusedNet, SimplexConfig, SimplexDiffusion, centred, restored
from adbench_baselines.diffusion.schedule import Step, q_sample
from adbench_baselines.images.filters import median
from adbench_baselines.networks.pixel import pixel_sizes

SIZES = pixel_sizes()


class PDDPMConfig(SimplexConfig):
    schedule: Literal["linear", "cosine"] = Field("cosine", description="of beta_t, or of alpha_bar_t")
    steps: int = Field(100_000, ge=1, description="optimiser steps")
    grid: int = Field(2, ge=1, le=8, description="patches along each side of the image")
    test_t: int = Field(500, ge=1, description="t that patches are noised to for scoring")
    noise_dimensions: Literal[2, 3] = Field(2, description="of noise=simplex: in the plane, or a slice of three")
    noise_std: float = Field(
        0.592, gt=0, description="standard deviation of noise=simplex: what six octaves of OpenSimplex noise have"
    )
    wavelength: float = Field(2 / 3, gt=0, description="of the first octave, over the image's shorter side")
    median_px: int = Field(5, ge=1, le=63, description="side of the median filter on scores, odd; 1 for none")
    network_batch: int = Field(256, ge=1, le=4096, description="images that patches are put together to in one pass")

    @model_validator(mode="after")
    def _test_is_trained(self) -> Self:
        if self.median_px % 2 == 0:
            raise ValueError(f"median_px must be odd, got {self.median_px}")
        self.check_trained("test_t", self.test_t)
        return self


class PatchNet(DiffusedNet):
    """x_0 of an image (B, 1, H, W) one patch of which is noised."""

    def __init__(self, config: PDDPMConfig) -> None:
        super().__init__(config)
        self.config = config

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean of |x_0 - f| in a random patch of each image."""
        n, _, height, width = images.shape
        t = self.steps(n, generator)
        eps = self.config.field(n, (height, width), generator).to(images.device)
        chosen = torch.randint(self.config.grid**2, (n,), generator=generator)
        patch, x_0 = cells((height, width), self.config.grid)[chosen].to(images.device), centred(images)
        x_t = self.noised(x_0, patch, t, eps)
        error = (x_0 - self(x_t, t.to(images.device))).abs()
        return (error * patch).sum() / patch.sum()

    def noised(self, x_0: Tensor, patch: Tensor, t: Step, eps: Tensor) -> Tensor:
        """Return x_t in the patch and x_0 elsewhere."""
        return torch.where(patch, q_sample(self.schedule, x_0, t, eps), x_0)


def cells(size: Size, grid: int) -> Tensor:
    """Return the bool masks of all patches of an image, (grid^2, 1, H, W): every pixel is in one."""
    rows, columns = (torch.arange(side) * grid // side for side in size)
    index = rows[:, None] * grid + columns[None, :]
    return index[None, None] == torch.arange(grid**2)[:, None, None, None]


class PDDPM(SimplexDiffusion[PDDPMConfig]):
    """pDDPM: residual to patches that are noised and drawn anew with the rest of the image as context."""

    Config = PDDPMConfig
    info = DetectorInfo("pDDPM: patches drawn anew with the rest as context", "Behrendt et al. 2023", "1")
    family = "diffusion"
    kind = "pddpm"
    inference_only = frozenset({"test_t", "median_px", "network_batch"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"test_t": Integer(100, 900), "median_px": Choice((1, 3, 5, 7))},
        training={
            "learning_rate": Real(1e-4, 5e-3, log=True),
            "grid": Integer(1, 4),
            "noise": Choice(("simplex", "gaussian")),
        },
    )

    @property
    def passes(self) -> Mapping[str, int]:
        return {"restore": self.config.grid**2}

    def network(self, size: Size) -> nn.Module:
        return PatchNet(self.config)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the residual, (B, 1, H, W) float32, median-filtered."""
        with self.stage("restore", passes=self.config.grid**2):
            x_hat = restored(self.stitched(centred(images)))
        with self.stage("post"):
            return median((images - x_hat).abs(), self.config.median_px)

    def stitched(self, x_0: Tensor) -> Tensor:
        """Return every patch of images in [-1, 1], (B, 1, H, W), drawn anew; several patches share a pass."""
        t, n, eps = self.config.test_t, len(x_0), self.noise_at("patch", self.config.test_t, x_0)
        x_hat, together = torch.zeros_like(x_0), max(1, self.config.network_batch // n)
        for masks in cells(self.size, self.config.grid).to(x_0.device).split(together):
            patch = masks.repeat_interleave(n, 0)
            x_t = self.net.noised(x_0.repeat(len(masks), 1, 1, 1), patch, t, eps)
            drawn = self.net(x_t, torch.full((len(x_t),), t, device=x_t.device))
            x_hat += (drawn * patch).unflatten(0, (len(masks), n)).sum(0)
        return x_hat
