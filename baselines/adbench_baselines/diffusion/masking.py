"""Find unlikely latents and heal them: the base of the methods that score what healing changed.

| code         | paper (Pinaya et al. 2022)    |
|--------------|-------------------------------|
| `limits`     | threshold of v                |
| `mask`       | m = (v >= threshold)          |
| `healed`     | z'_0                          |
| `x_hat`      | G(z'_0)                       |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from adbench.contracts.detector import Images
from adbench.contracts.plan import Plan
from adbench.errors import ConfigError
from adbench.storage.spec import PartSpec
from adbench.training.rows import Rows
from adbench_baselines.diffusion.config import HealingConfig
from adbench_baselines.diffusion.healing import HealingOptions, heal
from adbench_baselines.diffusion.latent import LatentDetector
from adbench_baselines.images.filters import grow
from adbench_baselines.images.moments import moments
from adbench_baselines.networks.vqvae import latent_shape

MAPS_VERSION = 2
"""Raise it when the same networks would give other validation maps."""


HealingT = TypeVar("HealingT", bound=HealingConfig)


class MaskedDiffusion(LatentDetector[HealingT]):
    """Find unlikely latents, and heal them."""

    limits: Tensor | None = None
    """Threshold of v, (h, w); None for a method without a mask."""
    mean: Tensor | None = None
    """Mean of the healthy latents, (1, n_z, h, w); None where healing does not begin there."""

    @property
    def masked(self) -> bool:
        """Whether the method has a mask."""
        return True

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the networks, and find threshold and mean on the healthy images."""
        if self.masked:
            self._check_validation_size(len(validation))
        super().fit(healthy, validation)
        if self.masked:
            self.limits = self.limits_of(self._validation_maps(validation)).to(self.runtime.device)
        if self.healing.start == "mean":
            self.mean = self.once("mean", [healthy.fingerprint], lambda: self._healthy_mean(healthy))

    @torch.no_grad()
    def _healthy_mean(self, healthy: Images) -> Tensor:
        def latents(batch: Tensor) -> Tensor:
            return self.model.standardise(self.vqvae.encode(batch.to(self.runtime.device)))

        return moments(healthy, latents, "healthy latents", self.runtime.progress)[0].to(self.runtime.device)

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
        return self.unlikely(self.smooth(self.kl(z, self.timesteps)))

    def unlikely(self, v: Tensor) -> Tensor:
        """The mask of smoothed maps (B, h, w)."""
        assert self.limits is not None  # set by fit where there is a mask
        return grow((v >= self.limits)[:, None], self.config.mask_growth)

    @property
    def healing(self) -> HealingOptions:
        return self.config.healing

    def reconstructions(self, images: Tensor, z: Tensor, region: Tensor) -> Tensor:
        """Return x_hat of each of the healed versions, (healings, B, 1, H, W); `region` (B, 1, h, w) is healed."""
        given = [images, region, repr(self.healing), self.config.healings, self.config.requantise]
        return self.once("reconstructions", given, lambda: self._reconstructions(z, region))

    def _reconstructions(self, z: Tensor, region: Tensor) -> Tensor:
        x_hats = []
        for draw in range(self.config.healings):
            with self.stage("heal", passes=self.healing.passes):
                healed = heal(self.model, z, region, self.healing, self.runtime.seed, draw, self.mean)
            with self.stage("decode"):
                x_hats.append(self.vqvae.decode(self.model.restore(healed), self.config.requantise))
        return torch.stack(x_hats)

    def shortened(self, passes: int) -> Self:
        """Every pass of healing costs the same, whatever t is; the mask decides what is kept of it, not its cost."""
        c, short = self.config, super().shortened(passes)
        if c.sampler == "ddpm":
            return short.with_settings(start_t=min(passes, c.start_t))
        return short.with_settings(healing_steps=min(passes, c.healing_steps))

    def state(self) -> dict[str, Tensor]:
        own = {"limits": self.limits, "mean": self.mean}
        return super().state() | {name: tensor for name, tensor in own.items() if tensor is not None}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.limits, self.mean = (
            state[name].to(self.runtime.device) if name in state else None for name in ("limits", "mean")
        )

    def plan(self, healthy: Images, validation: Images) -> Plan:
        if self.masked:
            self._check_validation_size(len(validation))
        shared = super().plan(healthy, validation)
        heal_passes = {"heal": self.healing.passes * self.config.healings}
        if not self.masked:
            return replace(shared, passes=heal_passes)
        maps = self._maps(validation, shared.parts[1].spec.key).plan(validation, shared.passes["kl_map"])
        return replace(shared, parts=[*shared.parts, maps], passes={**shared.passes, **heal_passes})
