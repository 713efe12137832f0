"""VQ-VAE, the compression model of the latent methods (van den Oord et al. 2017; Pinaya et al. 2022, section 2.1).

MONAI's encoder and decoder with our own quantiser (`quantiser.py`).

| code          | paper                          |
|---------------|--------------------------------|
| `z_e`         | E(x), before quantisation      |
| `codebook`    | e_k, k = 1..K                  |
| `x_hat`       | G(z)                           |
| `factor`      | f                              |
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from adbench.contracts.detector import Images
from adbench.contracts.search import Choice, Domain, Real
from adbench.devices.device import autocast
from adbench.errors import ConfigError, TrainingError
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.part import Size, Source, TrainedPart
from adbench_baselines.images.augmentation import augmented
from adbench_baselines.networks.quantiser import Quantiser

VERSION = 2
"""Raise it when the same configuration would train another network."""
LEAST_CODES = 0.1
"""Fraction of the codes that a trained codebook must use."""
VQVAE_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"channels": 16, "codes": 32, "latent_channels": 4, "steps": 30, "learning_rate": 2e-3},
    "demo": {
        "channels": 16, "codes": 64, "latent_channels": 4, "steps": 400, "batch_size": 32, "learning_rate": 2e-3,
    },
    "small": {"channels": 64, "codes": 64, "latent_channels": 4, "steps": 2500, "learning_rate": 5e-4},
    "standard": {
        "channels": 32, "codes": 64, "latent_channels": 4, "steps": 1500, "batch_size": 32, "learning_rate": 1e-3,
    },
    "paper": {},
}  # fmt: skip
"""The VQ-VAE of each preset; all but "paper" are for CPUs."""
VQVAE_SEARCH: dict[str, Domain] = {
    "vqvae.latent_channels": Choice((4, 8, 16, 32)),
    "vqvae.codes": Choice((32, 64, 128, 256)),
    "vqvae.learning_rate": Real(1e-4, 2e-3, log=True),
}


class VQVAEConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: int = Field(4, description="f, downsampling of the image: 2, 4 or 8")
    channels: int = Field(256, ge=1, description="channels of every level")
    residual_layers: int = Field(2, ge=0, description="residual layers a level")
    codes: int = Field(64, ge=2, le=32_767, description="K, size of the codebook")
    latent_channels: int = Field(8, ge=1, description="n_z, width of a code")
    commitment: float = Field(0.25, ge=0, description="beta, weight of the commitment loss")
    codebook_decay: float = Field(0.99, gt=0, lt=1, description="decay of the codebook's moving averages")
    steps: int = Field(60_000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="fraction kept at the end of a half cosine")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")
    augmentation: float = Field(0.5, ge=0, le=1, description="probability of a small affine change an image")

    def model_post_init(self, context: Any) -> None:
        if self.factor not in (2, 4, 8):
            raise ValueError("factor must be 2, 4 or 8")


class VQVAE(nn.Module):
    """Images (B, 1, H, W) in [0, 1] <-> quantised latents (B, n_z, H/f, W/f)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        from monai.networks.nets.vqvae import Decoder, Encoder  # MONAI takes seconds to import

        levels = config.factor.bit_length() - 1
        shared: dict[str, Any] = {
            "spatial_dims": 2,
            "channels": (config.channels,) * levels,
            "num_res_layers": config.residual_layers,
            "num_res_channels": (config.channels,) * levels,
            "dropout": 0.0,
            "act": "RELU",
        }
        self.config = config
        self.encoder = Encoder(
            in_channels=1,
            out_channels=config.latent_channels,
            downsample_parameters=((2, 4, 1, 1),) * levels,
            **shared,
        )
        self.decoder = Decoder(
            in_channels=config.latent_channels,
            out_channels=1,
            upsample_parameters=((2, 4, 1, 1, 0),) * levels,
            output_act=None,
            **shared,
        )
        self.quantiser = Quantiser(config.codes, config.latent_channels, config.codebook_decay)
        # in one layout always: another one is another order of sums, and a loaded network would give other scores
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return quantised latents (B, n_z, h, w) float32."""
        return self.quantiser(self.encode_unquantised(images))

    @torch.no_grad()
    def encode_unquantised(self, images: Tensor) -> Tensor:
        """Return z_e (B, n_z, h, w), in the precision that it is computed in."""
        with autocast(images.device):
            z_e: Tensor = self.encoder(images)
        return z_e

    @torch.no_grad()
    def decode(self, z: Tensor, requantise: bool = False) -> Tensor:
        """Return images (B, 1, H, W) float32 of latents; `requantise` moves each to its nearest code before."""
        z = self.quantiser(z) if requantise else z
        with autocast(z.device):
            x_hat = self.decoder(z)
        return x_hat.float()

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return L1 + beta * commitment, and let the codebook follow (it needs no gradient)."""
        z_e = self.encoder(images).float()
        if not bool(self.quantiser.sizes.any()):
            self.quantiser.start(z_e, generator)
        indices = self.quantiser.indices(z_e)
        z = self.quantiser.embed(indices)
        if self.training:
            self.quantiser.update(z_e.detach(), indices, generator)
        x_hat = self.decoder(z_e + (z - z_e).detach())  # straight-through
        return (images - x_hat.float()).abs().mean() + self.config.commitment * F.mse_loss(z_e, z.detach())


def check_size(config: VQVAEConfig, size: Size) -> None:
    """Raise ConfigError where the image size is no multiple of f."""
    if size[0] % config.factor or size[1] % config.factor:
        raise ConfigError(f"Image sides must be multiples of factor={config.factor}, got {size[0]} x {size[1]}.")


def latent_shape(config: VQVAEConfig, size: Size) -> tuple[int, int, int]:
    """Return (n_z, h, w) for images of a size."""
    return config.latent_channels, size[0] // config.factor, size[1] // config.factor


def part(config: VQVAEConfig) -> TrainedPart:
    """The part that the latent methods share."""
    return TrainedPart(
        kind="vqvae",
        version=VERSION,
        config=config,
        network=lambda size: VQVAE(config),
        loss=_loss,
        title="VQ-VAE",
        batches=augmented(config),
        finish=_check_codebook,
        check=lambda size: check_size(config, size),
    )


def _loss(net: VQVAE, images: Tensor, generator: torch.Generator) -> Tensor:
    images = images.contiguous(memory_format=torch.channels_last)
    with autocast(images.device):
        return net.losses(images, generator)


def _check_codebook(net: VQVAE, source: Source) -> None:
    """Raise TrainingError where too few codes are in use."""
    config, used = net.config, codes_in_use(net, source.healthy)
    source.runtime.store.notify(f"VQ-VAE: {used} of {config.codes} codes in use on the training images")
    least = LEAST_CODES * config.codes if config.steps >= TRIVIAL_STEPS else 2
    if used < max(2, least):
        raise TrainingError(
            f"The VQ-VAE's codebook collapsed: {used} of {config.codes} codes are in use. Train longer, or lower "
            f"vqvae.learning_rate={config.learning_rate}."
        )


@torch.no_grad()
def codes_in_use(module: VQVAE, images: Images) -> int:
    """How many codes are the nearest one anywhere in up to 1,024 images."""
    device = next(module.parameters()).device
    used: set[int] = set()
    for batch in islice(images.batches(128), 8):
        with autocast(device):
            z_e = module.encoder(batch.to(device))
        used |= set(module.quantiser.indices(z_e).unique().tolist())
    return len(used)
