"""Mahalanobis distance to ten reconstructions of cDDPM (Behrendt et al. 2024, arXiv 2407.12474; MICCAI 2024).

    x_i    = f(x_t, t, c(x)) at t = 500, i = 1..10, each from noise of its own;      m: their mean, C: their covariance
    d      = x - m,      M = sqrt(d * (C + 0.01 I)^-1 d) at every pixel, 0 where the product is negative
    score  = (Gaussian of M, sigma 1 px) (1 - SSIM(x, m))

Where reconstructions vary anyway, along with their neighbours, a residual counts less. The covariance is that of all
pixels of an image; its rank is at most nine, and its inverse is never formed (`images/covariance.py`). f and c are the
networks of `cddpm`, trained once. Read off the authors' code
(github.com/FinnBehrendt/Mahalanobis-Unsupervised-Anomaly-Detection, `mh_dist.py`, `DDPM_2D.py`, `utils_eval.py` and the
configuration of MHD): ten samples, t, 0.01, the square root of the product and its missing values, the Gaussian, and
SSIM in windows of 11 px with a Gaussian of 1 px.

Differs from the paper: all pixels of an image enter, as no brain mask is known; M is not brought to [0, 1], which the
code does scan by scan, so that scans stay comparable; Gaussian and SSIM are of slices, not of scans; and as `cddpm`.

| code      | paper                                   |
|-----------|-----------------------------------------|
| `samples` | reconstructions                         |
| `ridge`   | lambda, what is added to the covariance |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Integer, Real, SearchSpace
from adbench_baselines.diffusion.conditioned import CONDITIONED_SEARCH, Conditioned, ConditionedConfig
from adbench_baselines.diffusion.pixels import centred, restored
from adbench_baselines.images.covariance import mahalanobis_map
from adbench_baselines.images.filters import gaussian
from adbench_baselines.images.ssim import ssim_map

SSIM_SIDE_PX, SSIM_SIGMA_PX = 11, 1.0


class MahalanobisConfig(ConditionedConfig):
    test_t: int = Field(500, ge=1, description="t that images are noised to for scoring")
    reconstructions: int = Field(10, ge=2, description="samples of the covariance, each a network pass")
    ridge: float = Field(0.01, gt=0, description="added to the diagonal of the covariance")
    map_sigma_px: float = Field(1.0, ge=0, le=100, description="Gaussian smoothing of M in pixels")

    @model_validator(mode="after")
    def _test_is_trained(self) -> Self:
        self.check_trained("test_t", self.test_t)
        return self


class Mahalanobis(Conditioned[MahalanobisConfig]):
    """Mahalanobis distance of the image to several of its reconstructions, times their dissimilarity."""

    Config = MahalanobisConfig
    info = DetectorInfo(
        "Mahalanobis distance to ten conditioned reconstructions, times 1 - SSIM", "Behrendt et al. 2024", "1"
    )
    family = "diffusion"
    inference_only = frozenset({"test_t", "reconstructions", "ridge", "map_sigma_px", "network_batch"})
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={
            "test_t": Integer(100, 900),
            "reconstructions": Integer(2, 20, log=True),
            "ridge": Real(1e-4, 1.0, log=True),
            "map_sigma_px": Real(0.0, 4.0),
        },
        training=CONDITIONED_SEARCH,
    )

    @property
    def passes(self) -> Mapping[str, int]:
        return {"restore": self.config.reconstructions}

    def shortened(self, passes: int) -> Self:
        return self.with_settings(reconstructions=max(2, min(passes, self.config.reconstructions)))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return distance times dissimilarity, (B, 1, H, W) float32."""
        c = self.config
        with self.stage("restore", passes=c.reconstructions):
            samples = restored(self.redrawn(centred(images), [c.test_t] * c.reconstructions))
        with self.stage("distance"):
            distance = gaussian(mahalanobis_map(images, samples, c.ridge), c.map_sigma_px)
        with self.stage("post"):
            similarity = ssim_map(images, samples.mean(0), SSIM_SIDE_PX, SSIM_SIGMA_PX)
            return distance * (1 - similarity)
