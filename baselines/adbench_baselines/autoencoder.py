"""Autoencoders of the comparative study by Baur et al. 2021 (Medical Image Analysis 69, 101952): spatial AE, dense VAE.

    encoder    5 x 5 convolutions of stride 2, batch norm, LeakyReLU; decoder: the mirror image, transposed, 1 x 1 last
    AE         z = dropout(E(x));                       L = |x - x_hat|_1 / pixels
    VAE        q(z|x) = N(mu, sigma^2);                 L = (|x - x_hat|_1 + beta KL(q(z|x) || N(0, I))) / pixels
    KL         1/2 sum_j (mu_j^2 + sigma_j^2 - ln sigma_j^2 - 1)
    score      |x - x_hat|, x_hat of the VAE from z = mu; an image's score is the mean of its map

The L1 term is a sum over pixels and the KL a sum over latent dimensions, as in the paper, where beta = 1; both are
then divided by the number of pixels, which does not change where their minimum is.

The paper's images are 128 x 128 and its bottleneck 8 x 8 x 128. At other sizes the ratio of 16 is kept, not the side of
8: 4 x 4 x 128 at 64 x 64, so that an anomaly of a given share of the image is as hard to copy. One entry fewer in
`channels` gives 8 x 8 there.

Differs from the paper: the learning rate decays and weights are averaged (`final_learning_rate=1`, `ema_decay=0`: not)
where the paper stops early; training images are slightly moved, as for the VQ-VAE (`augmentation=0`: not); batches
are of 64 (`batch_size=8`).

| code               | paper                                   |
|--------------------|-----------------------------------------|
| `mu`, `log_sigma`  | mean and log of the spread of q(z\\|x)    |
| `x_hat`            | reconstruction                          |
| `beta`             | weight of the KL                        |
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Integer, Real, SearchSpace
from adbench.devices.device import autocast
from adbench.training.part import Size
from adbench_baselines.networks.reconstruction import Reconstruction, ReconstructionNet, keep
from adbench_baselines.networks.single import NetworkConfig

SLOPE = 0.3
"""Of LeakyReLU: the default of Keras, which the authors used."""
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"channels": (16, 32, 32, 32), "steps": 60, "learning_rate": 2e-3},
    "demo": {"steps": 400, "learning_rate": 1e-3},
    "small": {"steps": 6000, "learning_rate": 1e-3, "final_learning_rate": 0.02},
    "standard": {"steps": 9000, "batch_size": 32, "learning_rate": 1e-3, "final_learning_rate": 0.02},
    "paper": {},
}


class AEConfig(NetworkConfig):
    channels: tuple[int, ...] = Field(
        (32, 64, 128, 128), min_length=1, description="channels of every level; each level halves the image"
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="rate at the bottleneck while training")


class VAEConfig(AEConfig):
    dropout: float = Field(0.1, ge=0, lt=1, description="rate at the dense layers while training")
    bottleneck_channels: int = Field(16, ge=1, description="channels that the 1 x 1 convolution leaves")
    latent_size: int = Field(128, ge=1, description="dimensions of z")
    beta: float = Field(1.0, ge=0, description="weight of the KL, summed over z, against L1 summed over pixels")


def levels(widths: Sequence[int], transposed: bool = False) -> list[nn.Module]:
    """One 5 x 5 convolution of stride 2, batch norm and LeakyReLU for each step from one width to the next."""
    from monai.networks.blocks import Convolution  # MONAI takes seconds to import

    shared: dict[str, Any] = {
        "strides": 2,
        "kernel_size": 5,
        "norm": "BATCH",
        "act": ("LEAKYRELU", {"negative_slope": SLOPE}),
        "adn_ordering": "NA",
        "is_transposed": transposed,
    }
    return [Convolution(2, before, after, **shared) for before, after in pairwise(widths)]


def encoder(channels: Sequence[int]) -> nn.Sequential:
    """(B, 1, H, W) -> (B, channels[-1], H / 2^L, W / 2^L) for L levels."""
    return nn.Sequential(*levels((1, *channels)))


def decoder(channels: Sequence[int]) -> nn.Sequential:
    """(B, channels[-1], h, w) -> (B, 1, 2^L h, 2^L w): the encoder mirrored."""
    up = levels((*reversed(channels), channels[0]), transposed=True)
    return nn.Sequential(nn.BatchNorm2d(channels[-1]), nn.ReLU(), *up, nn.Conv2d(channels[0], 1, 1))


class SpatialAE(ReconstructionNet):
    """x -> z (B, C, H / 2^L, W / 2^L) -> x_hat."""

    def __init__(self, config: AEConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.encoder, self.decoder = encoder(config.channels), decoder(config.channels)

    def forward(self, images: Tensor) -> Tensor:
        with autocast(images.device):
            x_hat: Tensor = self.decoder(self.encoder(images))
        return x_hat.float()

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean of |x - x_hat| with dropout at the bottleneck."""
        with autocast(images.device):
            z = self.encoder(images)
            x_hat = self.decoder(z * keep(z.shape, self.dropout, z, generator))
        return (images - x_hat.float()).abs().mean()


class DenseVAE(ReconstructionNet):
    """x -> N(mu, sigma^2) of (B, latent_size) -> x_hat."""

    def __init__(self, config: VAEConfig, size: Size) -> None:
        super().__init__()
        self.beta, self.dropout = config.beta, config.dropout
        factor, width, inner = 2 ** len(config.channels), config.channels[-1], config.bottleneck_channels
        shape = (inner, size[0] // factor, size[1] // factor)
        flat = shape[0] * shape[1] * shape[2]
        self.encoder = nn.Sequential(encoder(config.channels), nn.Conv2d(width, inner, 1), nn.Flatten())
        self.mean, self.log_spread = nn.Linear(flat, config.latent_size), nn.Linear(flat, config.latent_size)
        self.dense = nn.Linear(config.latent_size, flat)
        self.decoder = nn.Sequential(nn.Unflatten(1, shape), nn.Conv2d(inner, width, 1), decoder(config.channels))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and ln sigma, (B, latent_size) float32."""
        with autocast(images.device):
            flat = self.encoder(images)
            mu, log_sigma = self.mean(flat), self.log_spread(flat)
        return mu.float(), log_sigma.float()

    def forward(self, images: Tensor) -> Tensor:
        mu, _ = self.encode(images)
        with autocast(images.device):
            x_hat: Tensor = self.decoder(self.dense(mu))
        return x_hat.float()

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return (L1 + beta KL) / pixels, the mean over the batch, with z drawn from q(z|x)."""
        mu, log_sigma = self.encode(images)
        mu, log_sigma = (v * keep(v.shape, self.dropout, v, generator) for v in (mu, log_sigma))
        z = mu + log_sigma.exp() * torch.randn(mu.shape, generator=generator).to(mu.device)
        with autocast(images.device):
            flat = self.dense(z)
            x_hat = self.decoder(flat * keep(flat.shape, self.dropout, flat, generator))
        l1 = (images - x_hat.float()).abs().flatten(1).sum(1)
        return (l1 + self.beta * kl_to_standard_normal(mu, log_sigma)).mean() / images[0].numel()


def kl_to_standard_normal(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in nats, (B,), of (B, n) means and logs of spreads."""
    return 0.5 * (mu.square() + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(1)


class AE(Reconstruction[AEConfig]):
    """Spatial autoencoder: residual to a reconstruction through a small feature map."""

    Config = AEConfig
    info = DetectorInfo("AE (Spatial): residual of an autoencoder", "Baur et al. 2021", "1")
    family = "reconstruction"
    kind = "ae"
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        training={"dropout": Real(0.0, 0.5), "learning_rate": Real(1e-4, 3e-3, log=True)}
    )

    @property
    def factor(self) -> int:
        return int(2 ** len(self.config.channels))

    def network(self, size: Size) -> ReconstructionNet:
        return SpatialAE(self.config)


class VAE(Reconstruction[VAEConfig]):
    """Dense variational autoencoder: residual to the reconstruction from the mean of q(z|x)."""

    Config = VAEConfig
    info = DetectorInfo("VAE (Dense): residual of a variational autoencoder", "Baur et al. 2021", "1")
    family = "reconstruction"
    kind = "vae"
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        training={
            "beta": Real(0.1, 10.0, log=True),
            "latent_size": Integer(16, 256, log=True),
            "learning_rate": Real(1e-4, 3e-3, log=True),
        }
    )

    @property
    def factor(self) -> int:
        return int(2 ** len(self.config.channels))

    def network(self, size: Size) -> ReconstructionNet:
        return DenseVAE(self.config, size)
