"""KL-weighted healing: what the networks of the latent diffusion detector can do beyond the paper's own steps.

The paper multiplies the absolute residual of one long healing by a binary mask. Here v itself, smoothed, is the weight,
and the residual is that to several short healings, averaged and smoothed before its sign is dropped, so that what the
compression model loses cancels out; a guided filter (He, Sun and Tang 2013) brings the map to the image's edges:

    score = guided(v * |median(gaussian(mean_k (x - G(z'_k))))|, x)

Unlikely latents (the global percentile of v, grown by one) are healed from the noised mean of healthy latents, the rest
noised as context (RePaint, Lugmayr et al. 2022). One DDIM step is enough for each healing, so that 10 values of t and 8
healings are 18 network passes. Networks, v and its threshold are those of `ddpm.py`, which names the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench_baselines.diffusion.config import (
    HEALING_SEARCH,
    MAP_SEARCH,
    MASK_SEARCH,
    NETWORK_SEARCH,
    HealingConfig,
    preset_values,
)
from adbench_baselines.diffusion.latent import SOURCE
from adbench_baselines.diffusion.masking import MaskedDiffusion
from adbench_baselines.images.filters import gaussian, guided, median

OWN = {
    "t_low": 300,
    "t_high": 500,
    "kl_timesteps": 10,
    "map_sigma": 1.0,
    "threshold": "global",
    "mask_growth": 1,
    "start_t": 400,
    "sampler": "ddim",
    "healing_steps": 1,
    "context": "noised",
    "start": "mean",
    "healings": 8,
    "image_score": "map-max",
}
"""What differs from the paper's settings."""


class WeightedConfig(HealingConfig):
    residual_sigma_px: float = Field(0.7, ge=0, le=100, description="Gaussian smoothing of the mean residual")
    median_px: int = Field(7, ge=1, le=63, description="side of the median over the mean residual, odd")
    edge_radius_px: int = Field(4, ge=0, le=64, description="radius of the guided filter of the map; 0 for none")

    @field_validator("median_px")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"median_px must be odd, got {side}")
        return side


class DDPMPlus(MaskedDiffusion[WeightedConfig]):
    """The smoothed KL map times the mean residual of several short healings, brought to the image's edges."""

    Config = WeightedConfig
    overrides: ClassVar[Mapping[str, Any]] = OWN
    presets: ClassVar = {
        name: {k: v for k, v in size.items() if k not in OWN} for name, size in preset_values().items()
    }
    search_space = SearchSpace(
        {
            **MAP_SEARCH,
            **{key: domain for key, domain in MASK_SEARCH.items() if key != "mask_sigma_px"},
            **{key: domain for key, domain in HEALING_SEARCH.items() if key != "sampler"},
            "healing_steps": Integer(1, 20, log=True),
            "healings": Integer(1, 8),
            "residual_sigma_px": Real(0.0, 2.0),
            "median_px": Choice((1, 3, 5, 7)),
            "edge_radius_px": Integer(0, 8),
        },
        NETWORK_SEARCH,
    )
    info = DetectorInfo("KL map times the residual of several short healings", f"own variant of {SOURCE}", "1")
    family = "latent diffusion"

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.encode(images)
        with self.stage("kl_map", passes=len(self.timesteps)):
            v = self.smooth(self.kl(z, self.timesteps))
        x_hat = self.reconstructions(images, z, self.unlikely(v)).mean(0)
        with self.stage("post"):
            c = self.config
            residual = median(gaussian(images - x_hat, c.residual_sigma_px), c.median_px).abs()
            scores = F.interpolate(v[:, None], images.shape[-2:], mode="bilinear") * residual
            return guided(scores, images, c.edge_radius_px) if c.edge_radius_px else scores
