"""cDDPM: diffusion conditioned on a code of the image (Behrendt et al. 2023, arXiv 2312.04215).

    x_hat  = mean over t = 250, 500, 750 of f(x_t, t, c(x)),      each in one pass, x_t from noise of its own
    score  = median_5x5 |x - x_hat|

f, c and their loss: `diffusion/conditioned.py`. c keeps what an image as a whole is like, so that a healthy image is
restored with its own contrast although x_t hides much of it. Read off the authors' code
(github.com/FinnBehrendt/Conditioned-Diffusion-Models-UAD, `DDPM_2D.py`, `cond_DDPM.py`, `generate_noise.py` and the
configuration of cDDPM): x_0 predicted, L1, a cosine schedule, the three values of t, simplex noise of six octaves, the
first of 64 px of 96, and the median filter.

Differs from the paper: c is a small network trained with f alone (there a ResNet-50, trained before as the encoder of a
masked autoencoder); its code is added to what f makes of t (there put beside it); intensities of training images are
not changed at random; each training image has its own noise (there: one field for a whole batch); the filter is of
slices, not of scans; no brain mask is known; the network is a smaller UNet without attention; training images are
slightly moved; weights are averaged.

| code    | paper                         |
|---------|-------------------------------|
| `code`  | c, the feature representation |
| `times` | t_test                        |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, SearchSpace
from adbench_baselines.diffusion.conditioned import CONDITIONED_SEARCH, Conditioned, ConditionedConfig
from adbench_baselines.diffusion.pixels import centred, restored
from adbench_baselines.images.filters import median


class CDDPMConfig(ConditionedConfig):
    times: tuple[int, ...] = Field((250, 500, 750), min_length=1, description="values of t that are averaged over")
    median_px: int = Field(5, ge=1, le=63, description="side of the median filter on scores, odd; 1 for none")

    @model_validator(mode="after")
    def _times_are_trained(self) -> Self:
        if min(self.times) < 1:
            raise ValueError(f"times must be 1 or more, got {list(self.times)}")
        if self.median_px % 2 == 0:
            raise ValueError(f"median_px must be odd, got {self.median_px}")
        self.check_trained("max(times)", max(self.times))
        return self


class CDDPM(Conditioned[CDDPMConfig]):
    """cDDPM: residual to the mean of reconstructions that know a code of the image."""

    Config = CDDPMConfig
    info = DetectorInfo("cDDPM: diffusion conditioned on a code of the image", "Behrendt et al. 2023", "1")
    family = "diffusion"
    inference_only = frozenset({"times", "median_px", "network_batch"})
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"median_px": Choice((1, 3, 5, 7))}, training=CONDITIONED_SEARCH
    )

    @property
    def passes(self) -> Mapping[str, int]:
        return {"restore": len(self.config.times)}

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the residual, (B, 1, H, W) float32, median-filtered."""
        with self.stage("restore", passes=len(self.config.times)):
            x_hat = restored(self.redrawn(centred(images), self.config.times).mean(0))
        with self.stage("post"):
            return median((images - x_hat).abs(), self.config.median_px)
