"""Control: the mask of unlikely latents times raw intensity, mask * x; it shows what the residual adds to the mask.

The mask m is that of step (c) of the latent diffusion detector (`ddpm.py`), smoothed and upsampled as there, and
nothing is healed. Bright is anomalous where the latent is unlikely.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from adbench.contracts.detector import DetectorInfo, Images
from adbench.contracts.plan import Plan
from adbench_baselines.diffusion.config import (
    MASK_SPACE,
    SHORT_TRAINING,
    SHORT_TRAINING_MASK,
    DiffusionConfig,
    preset_values,
)
from adbench_baselines.diffusion.latent import SOURCE
from adbench_baselines.diffusion.steps import LatentDiffusion


class KLMaskConfig(DiffusionConfig):
    """The config of the diffusion methods, so that the mask is theirs; fields of the healing have no effect."""

    step: Literal["c"] = Field("c", description="step (c), which has the mask")


class KLMaskIntensity(LatentDiffusion):
    """Raw intensity where the latent is unlikely: the mask of step (c), without healing."""

    Config = KLMaskConfig
    presets = preset_values(SHORT_TRAINING, SHORT_TRAINING_MASK)
    search_space = MASK_SPACE
    info = DetectorInfo("mask of unlikely latents times raw intensity", f"control; mask of {SOURCE}", "1")
    family = "control"

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.encode(images)
        with self.stage("kl_map", passes=len(self.timesteps)):
            mask = self.mask(z)
        with self.stage("post"):
            return self.soften(mask, images.shape[-2:]) * images

    def plan(self, healthy: Images, validation: Images) -> Plan:
        plan = super().plan(healthy, validation)
        return replace(plan, passes={"kl_map": plan.passes["kl_map"]})
