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

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images, Runtime
from adbench.contracts.plan import PartPlan, Plan, Run
from adbench.contracts.search import Real, SearchSpace
from adbench.devices.device import autocast
from adbench.storage.store import Checkpoint, PartSpec, changed_fields
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.loop import loop_options, train
from adbench.training.streams import stream
from adbench_baselines.reconstruction import check_depends_on_image
from adbench_baselines.wgan import WGAN, draw, fetch, part_plan, prepare
from adbench_baselines.wgan_networks import Trunk, WGANConfig, levels_of

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
    "paper": {},
}
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


def encoder_spec(config: EncoderConfig, wgan: PartSpec) -> PartSpec:
    return PartSpec(
        "fanogan-encoder", ENCODER_VERSION, changed_fields(config), wgan.data, wgan.seed, {"wgan": wgan.key}
    )


def train_encoder(
    config: EncoderConfig, encoder: Trunk, wgan: WGAN, healthy: Images, runtime: Runtime, checkpoint: Checkpoint
) -> dict[str, Tensor]:
    """Train E on frozen G and D, from the checkpoint where there is one; return its tensors. Raises TrainingError."""
    prepare(encoder, runtime)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        return encoder_loss(encoder, wgan, draw(healthy, config.batch_size, generator, runtime.device), config.kappa)

    options = loop_options("f-AnoGAN encoder", config, runtime.seed)
    train(encoder, loss_of, options, checkpoint, runtime.progress)
    if config.steps >= TRIVIAL_STEPS:
        images = draw(healthy, config.batch_size, stream("f-AnoGAN check", runtime.seed), runtime.device)
        check_depends_on_image(lambda x: wgan.generator(encoder(x)), images, options.what, config.learning_rate)
    return {k: v.cpu() for k, v in encoder.state_dict().items()}


class FAnoGANConfig(DetectorConfig):
    wgan: WGANConfig = WGANConfig()
    encoder: EncoderConfig = EncoderConfig()


class FAnoGAN(Detector[FAnoGANConfig]):
    """Residual to the nearest image that a generator of healthy images gives for the encoder's z."""

    Config = FAnoGANConfig
    info = DetectorInfo(
        "residual to a GAN's image of the encoder's z",
        "Schlegl et al. 2019, f-AnoGAN: Fast unsupervised anomaly detection with generative adversarial networks",
        "1",
    )
    presets = PRESETS
    search_space: ClassVar[SearchSpace] = SearchSpace(
        training={
            "encoder.kappa": Real(0.01, 10, log=True),
            "encoder.learning_rate": Real(3e-5, 2e-3, log=True),
            "wgan.learning_rate": Real(5e-5, 1e-3, log=True),
        }
    )
    wgan: WGAN
    encoder: Trunk
    _specs: Mapping[str, PartSpec] = MappingProxyType({})  # stays empty in a detector that was loaded

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the WGAN, then the encoder."""
        self.wgan, first = fetch(self.config.wgan, healthy, self.runtime)
        second = encoder_spec(self.config.encoder, first)
        torch.manual_seed(self.runtime.seed)
        self.encoder = self._new_encoder(healthy.shape[-2:])

        def make(checkpoint: Checkpoint) -> dict[str, Tensor]:
            return train_encoder(self.config.encoder, self.encoder, self.wgan, healthy, self.runtime, checkpoint)

        self.encoder.load_state_dict(self.runtime.store.get(second, make))
        prepare(self.encoder, self.runtime).eval().requires_grad_(False)
        self._specs = {"wgan": first, "fanogan-encoder": second}

    def _new_encoder(self, size: Sequence[int]) -> Trunk:
        return Trunk(self.config.wgan, size, self.config.wgan.latent_dim)

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
        size = healthy.shape[-2:]
        levels_of(size)
        first = part_plan(self.config.wgan, healthy, self.runtime)
        second = encoder_spec(self.config.encoder, first.spec)

        def build() -> tuple[nn.Module, Run]:
            frozen = prepare(WGAN(self.config.wgan, size), self.runtime).eval().requires_grad_(False)
            encoder = prepare(self._new_encoder(size), self.runtime)
            n, rng = self.config.encoder.batch_size, stream("plan", 0)
            images = draw(healthy, n, rng, self.runtime.device)
            return encoder, lambda: encoder_loss(encoder, frozen, images, self.config.encoder.kappa).backward()

        return Plan([first, PartPlan(second, self.config.encoder.steps, build)], {"encode": 1, "generate": 1}, 1)

    def artifacts(self) -> Mapping[str, str]:
        return {name: spec.key for name, spec in self._specs.items()}

    def parameters(self) -> int:
        return sum(p.numel() for module in (self.wgan, self.encoder) for p in module.parameters())

    def state(self) -> dict[str, Tensor]:
        return {f"wgan.{k}": v for k, v in self.wgan.state_dict().items()} | {
            f"encoder.{k}": v for k, v in self.encoder.state_dict().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        size = state["wgan.generator.size"].tolist()
        self.wgan, self.encoder = WGAN(self.config.wgan, size), self._new_encoder(size)
        for name, module in (("wgan.", self.wgan), ("encoder.", self.encoder)):
            module.load_state_dict({k.removeprefix(name): v for k, v in state.items() if k.startswith(name)})
            prepare(module, self.runtime).eval().requires_grad_(False)
