"""MAD-AD: masked diffusion on latents (Beizaee, Lodygensky, Desrosiers and Dolz 2025, arXiv 2502.16943; IPMI 2025).

    x_t    = m (sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps) + (1 - m) x_0     m: random patches of the latents
    L      = mean (x_0 - f(x_t, t))^2 + 0.001 mean (m - p(x_t, t))^2                 t uniform in 1..T, T = 10
    x_T    = z, the latents of the image as they are
    x_s    = DDIM step of f(x_t, t) with eta = 0.5 where p(x_t, t) >= 1/2, else x_t
    score  = Gaussian of min(|G(x_0) - G(z)|, 1/8)

The network learns both to say which latents were noised, p, and to restore them, f. An anomaly is taken for noise, and
only where it is does a step change anything. It is the nearest relative of step (c) of `ddpm`, and stands on the same
VQ-VAE: there a threshold of the KL map says once what is healed, here the network says it anew at every step.

Read off the authors' code (github.com/farzad-bz/MAD-AD, `train-MAD-AD.py`, `evaluate-MAD-AD.py`, `diffusion_x0/`): T,
the cosine schedule, x_0 as what is predicted, both losses, patches of 1 to 8 latents of 32 a side, each way by itself
and the same in a batch, a share of them from 0 to 0.4 (`share_last`), eta, the gate, the residual between two decoded
images, its limit of 0.25 of intensities in [-1, 1], and a Gaussian of 5 px of 256 (`smoothing`).

Differs from the paper: latents are those of a VQ-VAE before quantisation (there of a Gaussian autoencoder trained with
outside images), standardised per channel; p is an output of the last convolution and not of a head of its own; sides of
patches are powers of two up to a quarter of the latents' side, all equally likely; patches may lie anywhere, as no
brain mask is known; the same noise at a step for every image.

After a short training p may stay near the mean share of noised latents, below the gate almost everywhere, so that
little is restored and scores are near 0: seen after 500 steps of the preset "demo", where f alone told lesions apart.

| code      | paper                             |
|-----------|-----------------------------------|
| `noised`  | m; the paper's mask is 1 - m      |
| `x_0_hat` | restored latents                  |
| `p`       | predicted m                       |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Real, SearchSpace
from adbench.training.part import Size, TrainedPart
from adbench_baselines.diffusion.kl import noise_at
from adbench_baselines.diffusion.latent_net import (
    LATENT_SIZES,
    LatentNet,
    LatentNetConfig,
    draws_of_latents,
    latent_part,
)
from adbench_baselines.diffusion.restoring import LatentRestoration, RestoringConfig
from adbench_baselines.diffusion.schedule import Schedule, ddim_step, descent, predict_eps, q_sample
from adbench_baselines.images.filters import gaussian
from adbench_baselines.networks.vqvae import VQVAE_SEARCH, VQVAE_SIZES

SOURCE = "Beizaee et al. 2025, MAD-AD: Masked Diffusion for Unsupervised Brain Anomaly Detection"
VERSION = 1
"""Raise it when the same configuration would train another network."""
SIZES: dict[str, dict[str, Any]] = {
    name: {"vqvae": size, "unet": LATENT_SIZES[name]} for name, size in VQVAE_SIZES.items()
} | {"standard": {"vqvae": VQVAE_SIZES["standard"], "unet": {**LATENT_SIZES["standard"], "steps": 4000}}}


class MaskedConfig(LatentNetConfig):
    diffusion_steps: int = Field(10, ge=2, lt=10_000, description="T")
    share_last: float = Field(0.4, gt=0, le=1, description="largest share of the patches that are noised")
    mask_weight: float = Field(0.001, ge=0, description="weight of the loss of the predicted mask")


class MADADConfig(RestoringConfig):
    unet: MaskedConfig = MaskedConfig()
    eta: float = Field(0.5, ge=0, le=1, description="noise of a step back, as in DDIM")
    gate: float = Field(0.5, ge=0, le=1, description="predicted mask from which on a step changes a latent")
    residual_limit: float = Field(0.125, gt=0, description="residuals above count as this, of intensities in [0, 1]")
    smoothing: float = Field(
        5 / 256, ge=0, le=1, description="sigma of the score map's Gaussian, in heights of the image"
    )


class MaskedModel(LatentNet):
    """x_t (B, n_z, h, w) and t (B,) in 1..T -> x_0_hat, and the logit of p after its channels: (B, n_z + 1, h, w)."""

    def __init__(self, config: MaskedConfig, latent_channels: int) -> None:
        super().__init__(config, latent_channels, latent_channels + 1)
        self.config = config
        self.schedule = Schedule.cosine(config.diffusion_steps)

    def restored(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_0_hat (B, n_z, h, w) and p (B, 1, h, w) in [0, 1]."""
        out = self(x_t, t)
        return out[:, :-1], out[:, -1:].sigmoid()


def random_patches(n: int, size: Size, share_last: float, generator: torch.Generator) -> Tensor:
    """Return bool masks (n, 1, h, w) of patches, all of one random size, a share of them from 0 to `share_last`."""
    sides = [1 << int(torch.randint(max(1, (side // 4).bit_length()), (), generator=generator)) for side in size]
    grid = [-(-length // side) for length, side in zip(size, sides, strict=True)]
    share = share_last * torch.rand(n, 1, generator=generator)
    rank = torch.rand(n, grid[0] * grid[1], generator=generator).argsort(1).argsort(1)
    chosen = (rank < share * rank.shape[1]).reshape(n, 1, *grid)
    return chosen.repeat_interleave(sides[0], 2).repeat_interleave(sides[1], 3)[..., : size[0], : size[1]]


def masked_loss(net: MaskedModel, x_0: Tensor, generator: torch.Generator) -> Tensor:
    """Return L of standardised latents (B, n_z, h, w)."""
    n, _, height, width = x_0.shape
    t = torch.randint(1, net.config.diffusion_steps + 1, (n,), generator=generator)
    noised = random_patches(n, (height, width), net.config.share_last, generator).to(x_0.device)
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    x_t = torch.where(noised, q_sample(net.schedule, x_0, t, eps), x_0)
    x_0_hat, p = net.restored(x_t, t.to(x_0.device))
    return (x_0 - x_0_hat).square().mean() + net.config.mask_weight * (noised.float() - p).square().mean()


class MADAD(LatentRestoration[MADADConfig]):
    """MAD-AD: residual to latents restored where the network takes them for noised."""

    Config = MADADConfig
    info = DetectorInfo("MAD-AD: latents restored where a network takes them for noised", SOURCE, "1")
    family = "latent diffusion"
    presets = SIZES
    stage_name = "restore"
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={
            "eta": Real(0.0, 1.0),
            "gate": Real(0.1, 0.9),
            "residual_limit": Real(0.05, 1.0, log=True),
            "smoothing": Real(0.0, 0.06),
        },
        training={
            **VQVAE_SEARCH,
            "unet.learning_rate": Real(5e-5, 2e-3, log=True),
            "unet.share_last": Real(0.1, 0.8),
            "unet.mask_weight": Real(1e-4, 1.0, log=True),
        },
    )

    def network_parts(self, compressor: TrainedPart) -> Mapping[str, TrainedPart]:
        config = self.config.unet
        part = latent_part(
            "mad-ad", VERSION, config, compressor, lambda n: MaskedModel(config, n), masked_loss, draws_of_latents
        )
        return {"mad-ad": part}

    @property
    def steps(self) -> int:
        return len(self.path)

    @property
    def path(self) -> list[tuple[int, int]]:
        """Pairs (t, s) from T to 0."""
        return descent(self.config.unet.diffusion_steps, self.config.unet.diffusion_steps)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the smoothed residual, (B, 1, H, W) float32."""
        with self.stage("encode"):
            z = self.encode(images)
        with self.stage(self.stage_name, passes=self.steps):
            healthy = self.restored(z)
        with self.stage("decode"):
            residual = (self.decode(healthy) - self.decode(z)).abs()
        with self.stage("post"):
            residual = residual.clamp(max=self.config.residual_limit)
            return gaussian(residual, self.config.smoothing * images.shape[-2])

    def restored(self, z: Tensor) -> Tensor:
        """Return latents (B, n_z, h, w) after all steps."""
        net, schedule, x = self.net, self.net.schedule, z
        for t, s in self.path:
            x_0_hat, p = net.restored(x, torch.full((len(x),), t, device=x.device))
            noise = noise_at("MAD-AD", self.runtime.seed, t, x)
            step = ddim_step(schedule, x, t, s, predict_eps(schedule, x, t, x_0_hat), self.config.eta, noise)
            x = torch.where(p >= self.config.gate, step, x)
        return x
