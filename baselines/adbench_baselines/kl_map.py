"""Control: the KL map of the latent diffusion model, without healing (Pinaya et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench_baselines.diffusion.config import (
    KL_MAP_SPACE,
    LatentConfig,
)
from adbench_baselines.diffusion.latent import SOURCE, LatentDetector


class KLMap(LatentDetector[LatentConfig]):
    """Control: v itself, upsampled, as the score map; it shows what healing adds to finding unlikely latents."""

    Config = LatentConfig
    search_space = KL_MAP_SPACE
    info = DetectorInfo("KL map of the latent diffusion model, without healing", f"control; map of {SOURCE}", "2")
    family = "control"

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.encode(images)
        with self.stage("kl_map", passes=len(self.timesteps)):
            v = self.kl(z, self.timesteps)
        with self.stage("post"):
            return F.interpolate(self.smooth(v)[:, None], images.shape[-2:], mode="bilinear")
