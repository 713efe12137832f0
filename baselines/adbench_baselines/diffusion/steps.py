"""Steps (a) to (d), which `ddpm.py` registers: the residual to the healed image, weighted by the smoothed mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.family import Family
from adbench_baselines.diffusion.config import (
    DIFFUSION_SPACE,
    SHORT_TRAINING,
    SHORT_TRAINING_HEALING,
    SHORT_TRAINING_MASK,
    DiffusionConfig,
    preset_values,
)
from adbench_baselines.diffusion.latent import SOURCE
from adbench_baselines.diffusion.masking import MaskedDiffusion
from adbench_baselines.images.filters import gaussian


class LatentDiffusion(MaskedDiffusion[DiffusionConfig]):
    """Find unlikely latents, heal them, and score the residual."""

    Config = DiffusionConfig
    presets = preset_values(SHORT_TRAINING, SHORT_TRAINING_MASK, SHORT_TRAINING_HEALING)
    search_space = DIFFUSION_SPACE
    info = DetectorInfo("latent diffusion detector", SOURCE, "2")
    family: ClassVar[Family | None] = "latent diffusion"

    @property
    def masked(self) -> bool:
        """Step (a) has no mask."""
        return self.config.step != "a"

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.encode(images)
        mask = None
        if self.masked:
            with self.stage("kl_map", passes=len(self.timesteps)):
                mask = self.mask(z)
        region = mask if mask is not None and self.config.step == "c" else torch.ones_like(z[:, :1], dtype=torch.bool)
        nearest = (images - self.reconstructions(images, z, region)).abs().amin(0)
        with self.stage("post"):
            return nearest if mask is None else self.soften(mask, images.shape[-2:]) * nearest

    def soften(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """Return the latent mask upsampled to `size` and smoothed, (B, 1, H, W) in [0, 1]."""
        sigma = self.config.mask_sigma_px
        sigma = self.config.vqvae.factor / 2 if sigma is None else sigma
        return gaussian(F.interpolate(mask.float(), tuple(size), mode="nearest"), sigma)
