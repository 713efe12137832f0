"""REFLECT: a rectified flow from corrupted latents to healthy ones (Beizaee et al. 2025, arXiv 2508.02889).

    z_0    = sqrt(1 - m) z_1 + sqrt(m) r        z_1: healthy latents; r: what fills random shapes, m: how strongly
    z_t    = (1 - t) z_0 + t z_1                t uniform in [0, 1]
    L      = mean (v(z_t, t) - (z_1 - z_0))^2
    reflow : the same network trained further, with z_1 replaced by where five Euler steps of the first lead z_0
    z_hat  = Euler steps of v from the latents of the image, by default one: z + v(z, 0)
    score  = 1/2 Gaussian of min(|G(z_hat) - G(z)|, 0.2) / 0.2 + 1/2 Gaussian of min(mean |z_hat - z|, 0.4) / 0.4

Read off the authors' code (github.com/farzad-bz/REFLECT, `MedicalDataLoader.py`, `train_REFLECT.py`,
`train_REFLECT-2.py`, `evaluate_REFLECT.py`): the blend; one to four shapes, k of them with a probability as 1 / k, none
in a tenth of the images; m from 0.2 to 1; half of the fillings noise, sqrt(a) of it common to a shape; both stages; one
step; both residuals, their limits, and Gaussians of 3 px of 256 and of one latent of 32.

Differs from the paper: the other half of the fillings are latents of other healthy images, moved (there: of a set of
textures from outside); shapes are smooth ones and not walks, of a mean radius from `radius_first` to `radius_last`, and
may lie anywhere, as no brain mask is known; latents are those of a VQ-VAE before quantisation (there of a Gaussian
autoencoder trained with outside images), standardised per channel; the network knows t as 1000 t.

| code     | paper                             |
|----------|-----------------------------------|
| `flow`   | v of the first stage, REFLECT-1   |
| `reflow` | v of the second, REFLECT-2        |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from adbench.contracts.detector import DetectorInfo
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.training.part import Draw, Source, TrainedPart
from adbench_baselines.diffusion.flow import StraightenedNet, VelocityNet, euler, velocity_error
from adbench_baselines.diffusion.latent_net import (
    LATENT_SIZES,
    LatentNetConfig,
    LatentTrainingConfig,
    draws_of_latents,
    latent_part,
)
from adbench_baselines.diffusion.restoring import LatentRestoration, RestoringConfig
from adbench_baselines.images.filters import gaussian
from adbench_baselines.networks.vqvae import VQVAE_SEARCH, VQVAE_SIZES
from adbench_baselines.synthetic.latents import corrupted

SOURCE = "Beizaee et al. 2025, REFLECT: Rectified Flows for Efficient Brain Anomaly Correction Transport"
VERSION = 1
"""Raise it when the same configuration would train another network."""
FLOW_SIZES: dict[str, dict[str, Any]] = {**LATENT_SIZES, "standard": {**LATENT_SIZES["standard"], "steps": 3000}}
REFLOW_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 10, "augmented_copies": 0},
    "demo": {"steps": 100, "batch_size": 32, "augmented_copies": 2},
    "small": {"steps": 1000, "augmented_copies": 3},
    "standard": {"steps": 500, "batch_size": 32, "augmented_copies": 3},
    "paper": {},
}
SIZES: dict[str, dict[str, Any]] = {
    name: {"vqvae": size, "unet": FLOW_SIZES[name], "reflow": REFLOW_SIZES[name]} for name, size in VQVAE_SIZES.items()
}


class FlowConfig(LatentNetConfig):
    """The first stage, and what corrupts latents in both."""

    most_shapes: int = Field(4, ge=1, description="shapes in an image, at most")
    healthy_share: float = Field(0.1, ge=0, lt=1, description="images without any")
    foreign_share: float = Field(0.5, ge=0, le=1, description="shapes filled with latents of another image, not noise")
    radius_first: float = Field(0.05, gt=0, le=1, description="least mean radius of a shape over the shorter side")
    radius_last: float = Field(0.2, gt=0, le=1, description="largest")
    strength_first: float = Field(0.2, gt=0, le=1, description="least m of a shape")
    strength_last: float = Field(1.0, gt=0, le=1, description="largest")

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        for name in ("radius", "strength"):
            first, last = getattr(self, f"{name}_first"), getattr(self, f"{name}_last")
            if first > last:
                raise ValueError(f"{name}_first <= {name}_last is needed, got {first} and {last}")
        return self

    def corrupted(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Return z_0 of healthy latents (B, n_z, h, w)."""
        radii, strengths = (self.radius_first, self.radius_last), (self.strength_first, self.strength_last)
        return corrupted(z, self.most_shapes, self.healthy_share, radii, strengths, self.foreign_share, generator)


class ReflowConfig(LatentTrainingConfig):
    """The second stage: the network of the first, trained further."""

    steps: int = Field(50_000, ge=1, description="optimiser steps")
    learning_rate: float = Field(1e-5, gt=0)
    target_steps: int = Field(5, ge=1, description="Euler steps of the first stage that its targets are made with")


class REFLECTConfig(RestoringConfig):
    unet: FlowConfig = FlowConfig()
    reflow: ReflowConfig = ReflowConfig()
    stage: Literal[1, 2] = Field(2, description="1: the flow alone (REFLECT-1); 2: the flow trained further on its own")
    flow_steps: int = Field(1, ge=1, description="Euler steps that latents are restored with")
    image_limit: float = Field(0.2, gt=0, description="residuals above count as this, of intensities in [0, 1]")
    latent_limit: float = Field(0.4, gt=0, description="the same of latents, in standard deviations")
    image_smoothing: float = Field(
        3 / 256, ge=0, le=1, description="sigma of the image's Gaussian over the image's height"
    )
    latent_smoothing: float = Field(
        1 / 32, ge=0, le=1, description="sigma of the latents' Gaussian over the latents' height"
    )


def flow_part(config: FlowConfig, compressor: TrainedPart) -> TrainedPart:
    """The first stage."""

    def loss(net: VelocityNet, z_1: Tensor, generator: torch.Generator) -> Tensor:
        return velocity_error(net, config.corrupted(z_1, generator), z_1, generator)

    return latent_part("reflect", VERSION, config, compressor, lambda n: VelocityNet(config, n), loss, draws_of_latents)


def reflow_part(config: REFLECTConfig, compressor: TrainedPart, flow: TrainedPart) -> TrainedPart:
    """The second stage."""

    def loss(net: StraightenedNet, z_1: Tensor, generator: torch.Generator) -> Tensor:
        z_0 = config.unet.corrupted(z_1, generator)
        return velocity_error(net, z_0, net.ends(z_0, config.reflow.target_steps), generator)

    def draws(net: StraightenedNet, source: Source, _: LatentTrainingConfig) -> Draw:
        net.start(source.parents["flow"])
        return draws_of_latents(net, source, config.reflow)

    part = latent_part(
        "reflect-reflow", VERSION, config.reflow, compressor, lambda n: StraightenedNet(config.unet, n), loss, draws
    )
    return replace(part, parents={**part.parents, "flow": flow})


class REFLECT(LatentRestoration[REFLECTConfig]):
    """REFLECT: residual of image and latents to latents that a flow has moved to healthy ones."""

    Config = REFLECTConfig
    info = DetectorInfo("REFLECT: rectified flow from corrupted latents to healthy ones", SOURCE, "1")
    family = "synthetic"
    knowledge = "synthetic anomalies"
    presets = SIZES
    stage_name = "flow"
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={
            "flow_steps": Integer(1, 10),
            "image_limit": Real(0.05, 1.0, log=True),
            "latent_limit": Real(0.2, 4.0, log=True),
            "image_smoothing": Real(0.0, 0.06),
            "latent_smoothing": Real(0.0, 0.12),
        },
        training={
            **VQVAE_SEARCH,
            "stage": Choice((1, 2)),
            "unet.learning_rate": Real(5e-5, 2e-3, log=True),
            "unet.radius_last": Real(0.1, 0.4),
            "unet.foreign_share": Real(0.0, 1.0),
        },
    )

    def network_parts(self, compressor: TrainedPart) -> Mapping[str, TrainedPart]:
        flow = flow_part(self.config.unet, compressor)
        if self.config.stage == 1:
            return {"flow": flow}
        return {"flow": flow, "reflow": reflow_part(self.config, compressor, flow)}

    @property
    def steps(self) -> int:
        return self.config.flow_steps

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the mean of both residuals, (B, 1, H, W) float32 in [0, 1]."""
        c, size = self.config, images.shape[-2:]
        with self.stage("encode"):
            z = self.encode(images)
        with self.stage(self.stage_name, passes=self.steps):
            z_hat = euler(self.net, z, self.steps)
        with self.stage("decode"):
            of_image = (self.decode(z_hat) - self.decode(z)).abs()
        with self.stage("post"):
            of_image = gaussian(of_image.clamp(max=c.image_limit) / c.image_limit, c.image_smoothing * size[0])
            of_latents = (z_hat - z).abs().mean(1, keepdim=True).clamp(max=c.latent_limit) / c.latent_limit
            of_latents = gaussian(of_latents, c.latent_smoothing * z.shape[-2])
            return (of_image + F.interpolate(of_latents, size, mode="bilinear")) / 2
