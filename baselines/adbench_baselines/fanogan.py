"""f-AnoGAN (Schlegl et al. 2019): a generator of healthy images, an encoder into its latent space, and the residual.

    x_hat = G(E(x))
    encoder ("izi_f")   L_E = |x - x_hat|^2 / n + kappa |f(x) - f(x_hat)|^2 / n_d
    score map           |x - x_hat|
    image score         L_E of the image

| code       | paper                                                             |
|------------|-------------------------------------------------------------------|
| `encoder`  | E                                                                 |
| `features` | f, the critic's last layer before its linear output, n_d elements |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from adbench.contracts.detector import DetectorConfig, DetectorInfo, Images
from adbench.contracts.plan import Plan
from adbench.contracts.search import Real, SearchSpace
from adbench.devices.device import autocast
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.detector import TrainedDetector
from adbench.training.part import Draw, Part, Source, TrainedPart
from adbench.training.streams import stream
from adbench_baselines.networks import wgan_training
from adbench_baselines.networks.reconstruction import check_depends_on_image
from adbench_baselines.networks.wgan import WGAN
from adbench_baselines.networks.wgan_networks import Trunk, WGANConfig
from adbench_baselines.networks.wgan_training import WGANPart, draw, in_channels_last

ENCODER = "f-AnoGAN encoder"
ENCODER_VERSION = 1
"""Raise it when the same configuration would train another encoder."""
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "wgan": {"width": 8, "latent_dim": 32, "critic_steps": 2, "steps": 20, "batch_size": 16, "learning_rate": 1e-3},
        "encoder": {"steps": 30, "batch_size": 16, "learning_rate": 1e-3},
    },
    "demo": {
        "wgan": {"width": 8, "critic_steps": 3, "steps": 150, "batch_size": 32, "learning_rate": 5e-4},
        "encoder": {"steps": 300, "batch_size": 32, "learning_rate": 1e-3},
    },
    "small": {
        "wgan": {"width": 16, "steps": 1100, "batch_size": 32, "learning_rate": 5e-4, "final_learning_rate": 0.1},
        "encoder": {"steps": 2000, "learning_rate": 1e-3},
    },
    "standard": {
        "wgan": {
            "width": 8, "critic_steps": 3, "steps": 2500, "batch_size": 32, "learning_rate": 5e-4,
            "final_learning_rate": 0.1,
        },
        "encoder": {"steps": 1500, "learning_rate": 1e-3},
    },
    "paper": {},
}  # fmt: skip
"""All but "paper" are for CPUs."""


class EncoderConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kappa: float = Field(1.0, ge=0, description="weight of the feature term, in training and in image-level scores")
    steps: int = Field(50_000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="fraction kept at the end of a half cosine")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")


def izi_f(critic: Trunk, images: Tensor, x_hat: Tensor, kappa: float) -> Tensor:
    """Return L_E of each image, (B,) float32."""
    of_pixels = (images - x_hat).square().mean((1, 2, 3))
    of_features = (critic.features(images).float() - critic.features(x_hat).float()).square().mean((1, 2, 3))
    return of_pixels + kappa * of_features


def encoder_loss(encoder: Trunk, wgan: WGAN, images: Tensor, kappa: float) -> Tensor:
    """Return the mean of L_E over a batch, scalar."""
    with autocast(images.device):
        return izi_f(wgan.critic, images, wgan.generator(encoder(images)), kappa).mean()


def encoder_part(config: EncoderConfig, gan: WGANPart) -> TrainedPart:
    """E, trained on frozen G and D; its batches are images and the WGAN."""
    kappa = config.kappa

    def batches(net: Trunk, source: Source) -> Draw:
        return lambda generator: (draw(source, config.batch_size, generator), source.parents["wgan"])

    def example(source: Source) -> tuple[Tensor, WGAN]:
        frozen = gan.fresh(source.size, source.runtime).eval().requires_grad_(False)
        return draw(source, config.batch_size, stream("plan", 0)), frozen

    def finish(net: Trunk, source: Source) -> None:
        if config.steps >= TRIVIAL_STEPS:
            images = draw(source, config.batch_size, stream("f-AnoGAN check", source.runtime.seed))
            generator = source.parents["wgan"].generator
            check_depends_on_image(lambda x: generator(net(x)), images, ENCODER, config.learning_rate)

    return TrainedPart(
        kind="fanogan-encoder",
        version=ENCODER_VERSION,
        config=config,
        network=lambda size: in_channels_last(Trunk(gan.config, size, gan.config.latent_dim)),
        loss=lambda net, batch, generator: encoder_loss(net, batch[1], batch[0], kappa),
        title=ENCODER,
        parents={"wgan": gan},
        batches=batches,
        example=example,
        finish=finish,
    )


class FAnoGANConfig(DetectorConfig):
    wgan: WGANConfig = WGANConfig()
    encoder: EncoderConfig = EncoderConfig()


class FAnoGAN(TrainedDetector[FAnoGANConfig]):
    """Residual to the nearest image that a generator of healthy images gives for the encoder's z."""

    Config = FAnoGANConfig
    info = DetectorInfo(
        "residual to a GAN's image of the encoder's z",
        "Schlegl et al. 2019, f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks",
        "1",
    )
    family = "reconstruction"
    presets = PRESETS
    search_space: ClassVar[SearchSpace] = SearchSpace(
        training={
            "encoder.kappa": Real(0.01, 10, log=True),
            "encoder.learning_rate": Real(3e-5, 2e-3, log=True),
            "wgan.learning_rate": Real(5e-5, 1e-3, log=True),
        }
    )

    def parts(self) -> Mapping[str, Part]:
        gan = wgan_training.part(self.config.wgan)
        return {"wgan": gan, "fanogan-encoder": encoder_part(self.config.encoder, gan)}

    @property
    def wgan(self) -> WGAN:
        network: WGAN = self.trained["wgan"]
        return network

    @property
    def encoder(self) -> Trunk:
        network: Trunk = self.trained["fanogan-encoder"]
        return network

    def reconstruct(self, images: Tensor) -> Tensor:
        """Return x_hat, (B, 1, H, W) float32 in [0, 1]; no autocast, since bfloat16 features depend on the batch."""
        with self.stage("encode", passes=1):
            z = self.encoder(images)
        with self.stage("generate", passes=1):
            x_hat: Tensor = self.wgan.generator(z)
        return x_hat

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return |x - x_hat|, (B, 1, H, W)."""
        x_hat = self.reconstruct(images)
        with self.stage("post"):
            return (images - x_hat).abs()

    @torch.no_grad()
    def image_scores(self, images: Tensor) -> Tensor:
        """Return L_E of each image, (B,)."""
        return izi_f(self.wgan.critic, images, self.reconstruct(images), self.config.encoder.kappa)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        return replace(super().plan(healthy, validation), passes={"encode": 1, "generate": 1}, image_passes=1)
