"""Find unlikely latents, heal them, and score the residual: the method whose steps `ddpm.py` registers.

| code         | paper (Pinaya et al. 2022)    |
|--------------|-------------------------------|
| `limits`     | threshold of v                |
| `mask`       | m = (v >= threshold)          |
| `healed`     | z'_0                          |
| `x_hat`      | G(z'_0)                       |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.contracts.detector import DetectorInfo, Images
from adbench.contracts.plan import Plan
from adbench.errors import ConfigError
from adbench.storage.spec import PartSpec
from adbench.training.rows import Rows
from adbench_baselines.diffusion.config import (
    DIFFUSION_SPACE,
    SHORT_TRAINING,
    SHORT_TRAINING_MASK,
    DiffusionConfig,
    preset_values,
)
from adbench_baselines.diffusion.healing import HealingOptions, heal
from adbench_baselines.diffusion.latent import SOURCE, LatentDetector
from adbench_baselines.images.filters import gaussian, grow
from adbench_baselines.networks.vqvae import latent_shape

MAPS_VERSION = 2
"""Raise it when the same networks would give other validation maps."""


class LatentDiffusion(LatentDetector[DiffusionConfig]):
    """Find unlikely latents, heal them, and score the residual."""

    Config = DiffusionConfig
    presets = preset_values(SHORT_TRAINING, SHORT_TRAINING_MASK)
    search_space = DIFFUSION_SPACE
    info = DetectorInfo("latent diffusion detector", SOURCE, "2")
    limits: Tensor | None = None
    """Threshold of v, (h, w); step (a) has none."""

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the networks, and find the threshold on the healthy validation images."""
        if self.config.step != "a":
            self._check_validation_size(len(validation))
        super().fit(healthy, validation)
        if self.config.step != "a":
            self.limits = self.limits_of(self._validation_maps(validation)).to(self.runtime.device)

    def _check_validation_size(self, n: int) -> None:
        needed = round(1 / (1 - self.config.percentile / 100))
        if self.config.threshold == "position" and n < needed:
            raise ConfigError(
                f"The {self.config.percentile}th percentile at each position needs at least {needed} healthy "
                f"validation images, got {n}. Add some, or set threshold=global."
            )

    def _maps(self, validation: Images, unet_key: str) -> Rows:
        config = {"timesteps": self.timesteps, "variance": self.config.variance}
        parents = {"unet": unet_key}
        spec = PartSpec("kl-maps", MAPS_VERSION, config, validation.fingerprint, self.runtime.seed, parents)
        return Rows(spec, "v", "validation KL maps", latent_shape(self.config.vqvae, self.size)[1:])

    def _validation_maps(self, validation: Images) -> Tensor:
        """Return v of every validation image, (N, h, w), from the artifact store or computed batch by batch."""
        maps = self._maps(validation, self.artifacts()["unet"])
        if self.kept is not None:  # by t, and not once more for each choice of timesteps
            batches = (batch.to(self.runtime.device) for batch in validation.batches(maps.batch))
            return torch.cat([self._map(batch).cpu() for batch in batches])
        return maps.fetch(validation, self._map, self.runtime)

    def _map(self, images: Tensor) -> Tensor:
        return self.kl(self.encode(images), self.timesteps)

    def limits_of(self, v: Tensor) -> Tensor:
        """Return (h, w), the percentile of the smoothed maps (N, h, w) at each position, or over all."""
        v, q = self.smooth(v), self.config.percentile / 100
        if self.config.threshold == "position":
            return torch.quantile(v, q, dim=0)
        ordered = v.flatten().sort().values  # torch.quantile is limited to 16 million values
        return ordered[int(q * (len(ordered) - 1))].expand(v.shape[1:]).clone()

    def mask(self, z: Tensor) -> Tensor:
        """Return (B, 1, h, w) bool: m = (v >= threshold)."""
        assert self.limits is not None  # set by fit for every step that has a mask
        return grow((self.smooth(self.kl(z, self.timesteps)) >= self.limits)[:, None], self.config.mask_growth)

    @property
    def healing(self) -> HealingOptions:
        return self.config.healing

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.encode(images)
        mask = None
        if self.config.step != "a":
            with self.stage("kl_map", passes=len(self.timesteps)):
                mask = self.mask(z)
        residual = self.residual(images, z, mask if self.config.step == "c" else None)
        with self.stage("post"):
            return residual if mask is None else self.soften(mask, images.shape[-2:]) * residual

    def residual(self, images: Tensor, z: Tensor, mask: Tensor | None) -> Tensor:
        """Return |x - x_hat| to the nearest of the healed versions, (B, 1, H, W); without a mask all of z is healed."""
        c = self.config
        given = [images, "all" if mask is None else mask, repr(self.healing), c.healings, c.requantise]
        return self.once("residual", given, lambda: self._residual(images, z, mask))

    def _residual(self, images: Tensor, z: Tensor, mask: Tensor | None) -> Tensor:
        region = torch.ones_like(z[:, :1], dtype=torch.bool) if mask is None else mask
        residuals = []
        for draw in range(self.config.healings):
            with self.stage("heal", passes=self.healing.passes):
                healed = heal(self.model, z, region, self.healing, self.runtime.seed, draw)
            with self.stage("decode"):
                x_hat = self.vqvae.decode(self.model.restore(healed), self.config.requantise)
            residuals.append((images - x_hat).abs())
        return torch.stack(residuals).amin(0)

    def soften(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """Return the latent mask upsampled to `size` and smoothed, (B, 1, H, W) in [0, 1]."""
        sigma = self.config.mask_sigma_px
        sigma = self.config.vqvae.factor / 2 if sigma is None else sigma
        return gaussian(F.interpolate(mask.float(), tuple(size), mode="nearest"), sigma)

    def shortened(self, passes: int) -> Self:
        """Every pass of healing costs the same, whatever t is; the mask decides what is kept of it, not its cost."""
        c, short = self.config, super().shortened(passes)
        if c.sampler == "ddpm":
            return short.with_settings(start_t=min(passes, c.start_t))
        return short.with_settings(healing_steps=min(passes, c.healing_steps))

    def state(self) -> dict[str, Tensor]:
        return super().state() | ({} if self.limits is None else {"limits": self.limits})

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.limits = state["limits"].to(self.runtime.device) if "limits" in state else None

    def plan(self, healthy: Images, validation: Images) -> Plan:
        if self.config.step != "a":
            self._check_validation_size(len(validation))
        shared = super().plan(healthy, validation)
        heal_passes = {"heal": self.healing.passes * self.config.healings}
        if self.config.step == "a":
            return replace(shared, passes=heal_passes)
        maps = self._maps(validation, shared.parts[1].spec.key).plan(validation, len(self.timesteps))
        return replace(shared, parts=[*shared.parts, maps], passes={**shared.passes, **heal_passes})
