"""Configs of the latent diffusion methods, and the values that each preset gives their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from adbench.contracts.detector import DetectorConfig
from adbench.contracts.search import Choice, Domain, Integer, Real, SearchSpace
from adbench_baselines.diffusion.healing import Context, HealingOptions, Start
from adbench_baselines.diffusion.latent_net import LATENT_SIZES
from adbench_baselines.diffusion.schedule import Variance, spaced
from adbench_baselines.diffusion.unet import UNetConfig
from adbench_baselines.networks.vqvae import VQVAE_SEARCH, VQVAE_SIZES, VQVAEConfig

ImageScore = Literal["chain", "map-max"]

SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"vqvae": VQVAE_SIZES["smoke"], "unet": LATENT_SIZES["smoke"], "image_timesteps": 20},
    "demo": {
        "vqvae": VQVAE_SIZES["demo"],
        "unet": {**LATENT_SIZES["demo"], "t_last": 500},
        "image_score": "map-max",
        "t_low": 150,
        "t_high": 460,
        "kl_timesteps": 20,
        "map_sigma": 1.0,
    },
    "small": {"vqvae": VQVAE_SIZES["small"], "unet": LATENT_SIZES["small"], "image_timesteps": 100},
    "standard": {
        "vqvae": VQVAE_SIZES["standard"],
        "unet": {**LATENT_SIZES["standard"], "t_last": 650},
        "image_score": "map-max",
    },
    "paper": {},
}
"""The networks of each preset; with the fields of `SHORT_TRAINING`, all but "paper" are for CPUs."""

SHORT_TRAINING: dict[str, Any] = {"map_sigma": 0.7}
"""Fields of the KL map that suit networks trained for an hour, whose maps are noisier than the paper's."""
SHORT_TRAINING_MASK: dict[str, Any] = {"threshold": "global", "percentile": 99.0, "mask_sigma_px": 4.0}
SHORT_TRAINING_HEALING: dict[str, Any] = {"context": "noised", "start": "mean"}
"""Fields of mask and healing that do. All were chosen on `headct-sprites` with `data.development=true`."""


def preset_values(*fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`SIZES` with fields added to every preset but "paper", which is the paper's method; those of a size prevail."""
    added = {key: value for mapping in fields for key, value in mapping.items()}
    return {name: size if name == "paper" else {**added, **size} for name, size in SIZES.items()}


class LatentConfig(DetectorConfig):
    """The two networks and the KL map that all methods of this family share."""

    vqvae: VQVAEConfig = VQVAEConfig()
    unet: UNetConfig = UNetConfig()
    t_low: int = Field(400, ge=2, description="first t of the KL map")
    t_high: int = Field(600, ge=3, description="end of the range of t of the KL map, itself left out")
    kl_timesteps: int = Field(200, ge=1, description="evenly spaced values of t in that range")
    map_sigma: float = Field(0.0, ge=0, le=100, description="Gaussian smoothing of v, in latent pixels")
    variance: Variance = Field("beta_tilde", description="Sigma_theta of the reverse process")
    image_score: ImageScore = Field(
        "chain", description="an image's score: mean of L_{t-1} over the whole chain (the paper), or largest value of v"
    )
    image_timesteps: int = Field(1000, ge=1, description="values of t over the whole chain, for image_score=chain")
    image_sigma: float = Field(
        1.0, ge=0, le=100, description="smoothing of v for image_score=map-max, in latent pixels"
    )
    network_batch: int = Field(
        256, ge=1, le=4096, description="latents that values of t are put together to in one pass of the KL map"
    )

    @model_validator(mode="after")
    def _range_lies_in_the_chain(self) -> LatentConfig:
        if not self.t_low < self.t_high <= self.unet.diffusion_steps + 1:
            raise ValueError(
                f"t_low < t_high <= T + 1 is needed, got {self.t_low}, {self.t_high}, T = {self.unet.diffusion_steps}"
            )
        self._check_trained("the KL map", self.timesteps, "t_low and t_high")
        if self.image_score == "chain":
            self._check_trained("image_score=chain", self.chain, "image_score=map-max")
        return self

    def _check_trained(self, use: str, steps: Sequence[int], instead: str) -> None:
        """Raise ValueError where one of `steps` is none that the network was trained on."""
        trained = self.unet.trained
        other = [t for t in steps if t not in trained]
        if other:
            raise ValueError(
                f"{use} needs t = {min(steps)} to {max(steps)}, but the network is trained on {trained[0]} to "
                f"{trained[-1]} alone: change {instead}, or train on all t (unet.t_first, unet.t_last)"
            )

    @property
    def timesteps(self) -> list[int]:
        """The values of t of the KL map."""
        return spaced(self.t_low, self.t_high, self.kl_timesteps)

    @property
    def chain(self) -> list[int]:
        """The values of t over the whole chain; it starts at 2, since L_0 has no meaning on latents."""
        return spaced(2, self.unet.diffusion_steps + 1, self.image_timesteps)


class HealingConfig(LatentConfig):
    """Which latents are unlikely, and how they are healed."""

    percentile: float = Field(97.5, gt=0, lt=100, description="of v over healthy validation images")
    threshold: Literal["position", "global"] = Field(
        "position", description="one threshold a latent position (the paper), or one for all"
    )
    mask_growth: int = Field(0, ge=0, le=64, description="dilation of the mask, in latent pixels")
    start_t: int = Field(500, ge=1, description="first t of healing")
    sampler: Literal["ddpm", "ddim"] = Field("ddpm")
    healing_steps: int = Field(500, ge=1, description="steps from start_t to 0 (ddpm always takes all)")
    context: Context = Field("clean", description="what stands outside the mask while healing: z_0 clean or at level t")
    start: Start = Field(
        "noise", description="what stands inside the mask at start_t: noised z_0, noise, or the noised healthy mean"
    )
    healings: int = Field(1, ge=1, description="healed versions of an image, each from noise of its own")
    resamplings: int = Field(
        1, ge=1, description="times each step of healing is taken, noised again in between (RePaint); not in the paper"
    )
    requantise: bool = Field(False, description="move healed latents to their nearest code before decoding")

    @model_validator(mode="after")
    def _start_lies_in_the_chain(self) -> Self:
        if self.start_t > self.unet.diffusion_steps:
            raise ValueError(f"start_t <= T is needed, got {self.start_t} and T = {self.unet.diffusion_steps}")
        self._check_trained("healing", [t for t, _ in self.healing.path], "start_t or healing_steps")
        return self

    @property
    def healing(self) -> HealingOptions:
        """How latents are healed."""
        return HealingOptions(
            self.start_t, self.healing_steps, self.sampler, self.context, self.start, self.variance, self.resamplings
        )


class DiffusionConfig(HealingConfig):
    step: Literal["a", "b", "c"] = Field("c", description="step of the paper; (d) is (c) with DDIM and 50 values of t")
    mask_sigma_px: float | None = Field(
        None, ge=0, le=100, description="smoothing of the upsampled mask; null: f / 2 pixels"
    )

    @property
    def healing(self) -> HealingOptions:
        """How latents are healed; step (a) and (b) heal all of z, which from pure noise would be another image."""
        options = super().healing
        return options if self.step == "c" else replace(options, start="noised")


NETWORK_SEARCH: dict[str, Domain] = {
    **VQVAE_SEARCH,
    "unet.learning_rate": Real(5e-5, 2e-3, log=True),
    "unet.residual_blocks": Integer(1, 2),
}
MAP_SEARCH: dict[str, Domain] = {
    "t_low": Integer(2, 450),
    "t_high": Integer(460, 1000),
    "kl_timesteps": Integer(10, 200, log=True),
    "map_sigma": Real(0.0, 2.0),
}
MASK_SEARCH: dict[str, Domain] = {
    "percentile": Real(90.0, 99.9),
    "threshold": Choice(("position", "global")),
    "mask_growth": Integer(0, 2),
    "mask_sigma_px": Real(0.0, 8.0),
}
HEALING_SEARCH: dict[str, Domain] = {
    "start_t": Integer(200, 900),
    "sampler": Choice(("ddpm", "ddim")),
    "healing_steps": Integer(10, 500, log=True),
    "context": Choice(("clean", "noised")),
    "start": Choice(("noise", "noised", "mean")),
    "healings": Integer(1, 4),
    "resamplings": Integer(1, 3),
    "requantise": Choice((False, True)),
}
KL_MAP_SPACE = SearchSpace(MAP_SEARCH, NETWORK_SEARCH)
MASK_SPACE = SearchSpace({**MAP_SEARCH, **MASK_SEARCH}, NETWORK_SEARCH)
WHOLE_SPACE = SearchSpace({k: v for k, v in HEALING_SEARCH.items() if k not in ("context", "start")}, NETWORK_SEARCH)
"""Of step (a), which has no mask, and so neither a context nor a choice of start."""
DIFFUSION_SPACE = SearchSpace({**MAP_SEARCH, **MASK_SEARCH, **HEALING_SEARCH}, NETWORK_SEARCH)
