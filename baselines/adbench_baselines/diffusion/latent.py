"""Base of the methods that see images as latents: the two shared networks, the KL map, and image scores by it.

| code  | paper (Pinaya et al. 2022)                         |
|-------|----------------------------------------------------|
| `z`   | z_0 = E(x), quantised, standardised per channel    |
| `v`   | v, mean of L_{t-1} over t and n_z                  |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from adbench.contracts.detector import Images
from adbench.contracts.plan import Plan
from adbench.storage.kept import Kept
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part
from adbench_baselines.diffusion import unet
from adbench_baselines.diffusion.config import (
    SHORT_TRAINING,
    LatentConfig,
    preset_values,
)
from adbench_baselines.diffusion.kl import kept_kl_map, kl_map
from adbench_baselines.diffusion.unet import LatentModel
from adbench_baselines.images.filters import gaussian
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAE, latent_shape

SOURCE = "Pinaya et al. 2022, Fast Unsupervised Brain Anomaly Detection and Segmentation with Diffusion Models"

ConfigT = TypeVar("ConfigT", bound=LatentConfig)
T = TypeVar("T")


class LatentDetector(TrainedDetector[ConfigT]):
    """Base of the methods that see images through the two shared networks."""

    presets = preset_values(SHORT_TRAINING)
    kept: Kept | None = None
    """Results of stages, shared by the trials of a study; None: every stage is computed."""

    def parts(self) -> Mapping[str, Part]:
        compressor = vqvae.part(self.config.vqvae)
        return {"vqvae": compressor, "unet": unet.part(self.config.unet, compressor)}

    @property
    def vqvae(self) -> VQVAE:
        network: VQVAE = self.trained["vqvae"]
        return network

    @property
    def model(self) -> LatentModel:
        network: LatentModel = self.trained["unet"]
        return network

    def fetch_part(self, part: Part, healthy: Images, made: dict[str, Any]) -> Any:
        """Fetch it, or take it from memory, where trials share it."""
        fetch = partial(super().fetch_part, part, healthy, made)
        key = [part.spec(healthy, self.runtime.seed).key, str(self.runtime.device)]
        return fetch() if self.kept is None else self.kept.once(key, fetch)

    def once(self, what: str, given: Sequence[object], make: Callable[[], T]) -> T:
        """Return `make()`, or what it returned for the same networks and `given`, where results are kept."""
        return make() if self.kept is None else self.kept.once([what, *self._kept_key, *given], make)

    @property
    def _kept_key(self) -> list[object]:
        return [*self.artifacts().values(), self.runtime.seed, str(self.runtime.device)]

    def encode(self, images: Tensor) -> Tensor:
        """Return standardised latents (B, n_z, h, w)."""
        return self.once("z", [images], lambda: self.model.standardise(self.vqvae.encode(images)))

    def kl(self, z: Tensor, timesteps: Sequence[int]) -> Tensor:
        """Return v, (B, h, w): L_{t-1} averaged over timesteps and channels."""
        c = self.config
        given = (self.model, z, timesteps, self.runtime.seed, c.variance, c.network_batch)
        return kl_map(*given) if self.kept is None else kept_kl_map(self.kept, self._kept_key, *given)

    def smooth(self, v: Tensor) -> Tensor:
        """Return maps (B, h, w) smoothed by `map_sigma`."""
        return gaussian(v[:, None], self.config.map_sigma)[:, 0]

    @property
    def timesteps(self) -> list[int]:
        """The values of t of the KL map."""
        return self.config.timesteps

    @torch.no_grad()
    def image_scores(self, images: Tensor) -> Tensor:
        """Return the mean L_{t-1} over the whole chain (the paper), or the largest value of the smoothed v, (B,)."""
        c, z = self.config, self.encode(images)
        timesteps = c.chain if c.image_score == "chain" else c.timesteps
        with self.stage("kl_map", passes=len(timesteps)):
            v = self.kl(z, timesteps)
        if c.image_score == "chain":
            return v.mean((1, 2))
        return gaussian(v[:, None], c.image_sigma).amax((1, 2, 3))

    def shortened(self, passes: int) -> Self:
        c = self.config
        return self.with_settings(
            kl_timesteps=min(passes, c.kl_timesteps), image_timesteps=min(passes, c.image_timesteps)
        )

    def with_settings(self, **settings: object) -> Self:
        """This fitted detector with other settings, which are not checked."""
        other = copy(self)
        other.config = self.config.model_copy(update=settings)
        return other

    def plan(self, healthy: Images, validation: Images) -> Plan:
        shared = super().plan(healthy, validation)
        shape = latent_shape(self.config.vqvae, self.size)

        def forward(batch_size: int) -> Any:
            module = LatentModel(self.config.unet, shape[0]).to(self.runtime.device).eval()
            x_t = torch.randn(batch_size, *shape, device=self.runtime.device)
            t = torch.full((batch_size,), self.config.t_low, device=self.runtime.device)
            return torch.no_grad()(lambda: module(x_t, t))

        c = self.config
        of_images = len(c.chain if c.image_score == "chain" else c.timesteps)
        return replace(shared, passes={"kl_map": len(self.timesteps)}, image_passes=of_images, forward=forward)
