"""Latent diffusion detector (Pinaya et al. 2022, arXiv 2206.03461): steps (a) to (d), and the KL map alone.

A diffusion model learns healthy VQ-VAE latents. Where L_{t-1}, averaged over t in [400, 600) and channels, reaches its
97.5th percentile over healthy validation images, the latent is unlikely; those positions are healed by the reverse
process from t = 500, and the residual to the decoded, healed image, weighted by the smoothed mask, is the score.

| step | what                                                          | score                   |
|------|---------------------------------------------------------------|-------------------------|
| (a)  | reverse process on all of z                                   | |x - x_hat|             |
| (b)  | (a), then the mask                                            | mask * |x - x_hat|      |
| (c)  | only masked positions are healed, the rest is the original    | mask * |x - x_hat'|     |
| (d)  | (c) with 50 values of t for the map, and DDIM with 50 steps   | mask * |x - x_hat'|     |

| code         | paper                                                 |
|--------------|-------------------------------------------------------|
| `z`          | z_0 = E(x), quantised, standardised per channel       |
| `v`          | v, mean of L_{t-1} over t and n_z                     |
| `mask`       | m = (v >= threshold)                                  |
| `healed`     | z'_0                                                  |
| `x_hat`      | G(z'_0)                                               |

All noise is shared by the images of a batch and drawn from the seed and t alone, on the CPU: it depends neither on the
batch nor on the device, and the threshold found on validation images transfers to test images.

Differs from the paper: `start` and `mask_sigma_px`, on which its text is silent, are fields; `context`, `map_sigma`,
`threshold`, `percentile`, `image_score` and `healings` have the paper's values by default and in the preset "paper",
but some have others in the presets for CPUs; `image_timesteps` may thin the chain that image-level scores average over,
and that chain starts at t = 2, since L_0 has no meaning on latents; `unet.t_first` and `unet.t_last` may leave steps
untrained, and what would ask the network for those is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.contracts.detector import DetectorInfo, Images
from adbench.contracts.plan import Plan
from adbench.errors import ConfigError
from adbench.storage.kept import Kept
from adbench.storage.store import PartSpec
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part
from adbench.training.rows import Rows
from adbench_baselines import unet, vqvae
from adbench_baselines.diffusion_config import (
    DIFFUSION_SPACE,
    KL_MAP_SPACE,
    SHORT_TRAINING,
    SHORT_TRAINING_MASK,
    WHOLE_SPACE,
    DiffusionConfig,
    LatentConfig,
    preset_values,
)
from adbench_baselines.healing import HealingOptions, heal
from adbench_baselines.kl import kept_kl_map, kl_map
from adbench_baselines.smoothing import gaussian, grow
from adbench_baselines.unet import LatentModel
from adbench_baselines.vqvae import VQVAE, latent_shape

SOURCE = "Pinaya et al. 2022, Fast Unsupervised Brain Anomaly Detection and Segmentation with Diffusion Models"
MAPS_VERSION = 2
"""Raise it when the same networks would give other validation maps."""

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

    @cached_property
    def timesteps(self) -> list[int]:
        """The values of t of the KL map."""
        return self.config.timesteps

    @torch.no_grad()
    def image_scores(self, images: Tensor) -> Tensor:
        """Return the mean L_{t-1} over the whole chain (the paper), or the largest value of the smoothed v, (B,)."""
        c, z = self.config, self.encode(images)
        if c.image_score == "chain":
            return self.kl(z, c.chain).mean((1, 2))
        return gaussian(self.kl(z, c.timesteps)[:, None], c.image_sigma).amax((1, 2, 3))

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


class KLMap(LatentDetector[LatentConfig]):
    """Control: v itself, upsampled, as the score map; it shows what healing adds to finding unlikely latents."""

    Config = LatentConfig
    search_space = KL_MAP_SPACE
    info = DetectorInfo("KL map of the latent diffusion model, without healing", f"control; map of {SOURCE}", "2")

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.encode(images)
        with self.stage("kl_map", passes=len(self.timesteps)):
            v = self.kl(z, self.timesteps)
        with self.stage("post"):
            return F.interpolate(self.smooth(v)[:, None], images.shape[-2:], mode="bilinear")


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
        return Rows(spec, "v", "validation KL maps")

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


class DDPMStepA(LatentDiffusion):
    """Step (a): the reverse process on all of z, no mask."""

    info = DetectorInfo("step (a): reverse process on all latents, no mask", SOURCE, "2")
    overrides = {"step": "a"}
    search_space = WHOLE_SPACE


class DDPMStepB(LatentDiffusion):
    """Step (b): (a), and the residual weighted by the mask."""

    info = DetectorInfo("step (b): reverse process on all latents, residual in the mask", SOURCE, "2")
    overrides = {"step": "b"}


class DDPM(LatentDiffusion):
    """Step (c): masked inpainting by DDPM, the paper's complete method."""

    info = DetectorInfo("step (c): masked inpainting by DDPM, 700 network passes", SOURCE, "2")
    overrides = {"step": "c"}


class DDIM(LatentDiffusion):
    """Step (d): (c) with 50 values of t for the map, and DDIM with 50 steps."""

    info = DetectorInfo("step (d): masked inpainting by DDIM, 100 network passes", SOURCE, "2")
    overrides: ClassVar[Mapping[str, Any]] = {"step": "c", "kl_timesteps": 50, "sampler": "ddim", "healing_steps": 50}


class DDPMStepAF8(DDPMStepA):
    """Step (a) at f = 8."""

    overrides = {**DDPMStepA.overrides, "vqvae.factor": 8}


class DDPMStepBF8(DDPMStepB):
    """Step (b) at f = 8."""

    overrides = {**DDPMStepB.overrides, "vqvae.factor": 8}


class DDPMF8(DDPM):
    """Step (c) at f = 8."""

    overrides = {**DDPM.overrides, "vqvae.factor": 8}


class DDIMF8(DDIM):
    """Step (d) at f = 8."""

    overrides = {**DDIM.overrides, "vqvae.factor": 8}
