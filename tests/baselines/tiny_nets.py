"""Networks, settings and images small enough for tests that take seconds."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from adbench_baselines.diffusion.schedule import Schedule
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAEConfig
from adbench_baselines.tokens import model as token_model
from adbench_baselines.tokens.model import TokenModel, TokenModelConfig
from torch import Tensor, nn

from adbench.config.settings import resolve
from adbench.contracts.detector import Detector, Images, Runtime
from adbench.storage.store import ArtifactStore
from adbench.testing import toy_split

SIDE = 32
VQVAE_SETTINGS: dict[str, Any] = {
    "channels": 8, "residual_layers": 1, "codes": 16, "latent_channels": 4,
    "steps": 20, "batch_size": 8, "learning_rate": 3e-3, "ema_decay": 0.0,
    "codebook_decay": 0.8,  # codes must follow, and restart, within a few steps
}  # fmt: skip
UNET_SETTINGS: dict[str, Any] = {
    "channels": (8, 8), "residual_blocks": 1, "head_channels": 8, "diffusion_steps": 40,
    "steps": 4, "batch_size": 8, "augmented_copies": 1, "ema_decay": 0.0,
}  # fmt: skip
LATENT_SETTINGS: dict[str, Any] = {
    "vqvae": VQVAE_SETTINGS, "unet": UNET_SETTINGS, "t_low": 4, "t_high": 20, "kl_timesteps": 4, "image_timesteps": 4,
}  # fmt: skip
DIFFUSION_SETTINGS: dict[str, Any] = {**LATENT_SETTINGS, "start_t": 12, "healing_steps": 6}


def stack(n: int, seed: int) -> Images:
    """Return `n` healthy images as a detector sees them."""
    split = toy_split(n, SIDE, seed)
    return Images(split.images, split.image_fingerprint)


def sick(n: int = 4) -> Tensor:
    """Return `n` images with lesions."""
    return torch.from_numpy(toy_split(n, SIDE, 3, lesions=True).images.copy())


def build(cls: type[Detector[Any]], settings: dict[str, Any], runtime: Runtime | None = None) -> Any:
    """Return a detector with the class's overrides and then `settings`, not fitted."""
    return cls(resolve(cls.Config, [cls.overrides, settings], cls.__name__), runtime)


def fitted(cls: type[Detector[Any]], settings: dict[str, Any], runtime: Runtime | None = None, n: int = 40) -> Any:
    """Return such a detector fitted on a few images and `n` validation images."""
    detector = build(cls, settings, runtime)
    detector.fit(stack(16, 1), stack(n, 2))
    return detector


def token_part(
    config: TokenModelConfig, codes: int, grids: Tensor, store: ArtifactStore | None = None, ordering: int = 0
) -> TokenModel:
    """Return a transformer trained on given tokens (images, h, w), without the VQ-VAE that they would come from."""
    compressor = vqvae.part(VQVAEConfig(codes=codes))
    part = token_model.parts(config, compressor, ordering + 1)[ordering]
    n, height, width = grids.shape
    healthy = Images(np.zeros((n, 1, 4 * height, 4 * width), np.float32), "tokens")
    runtime = Runtime(store=store) if store else Runtime()
    with patch.object(token_model, "encode_copies", lambda *_: grids[None].to(torch.int16)):
        model: TokenModel = part.fetch(healthy, runtime, {compressor.spec(healthy, 0).key: None})
    return model


class ToyModel(nn.Module):
    """eps_theta by one convolution and a wave of t, in the precision of its input; remembers what it was given."""

    def __init__(self, channels: int = 3, steps: int = 1000) -> None:
        super().__init__()
        self.schedule = Schedule.scaled_linear(steps, 0.0015, 0.0195)
        generator = torch.Generator().manual_seed(5)
        self.weight = torch.randn(channels, channels, 3, 3, generator=generator, dtype=torch.float64) / 5
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.seen.append((x_t, t))
        wave = (t.to(x_t.dtype) / 100).sin().reshape(-1, 1, 1, 1)
        return nn.functional.conv2d(x_t, self.weight.to(x_t.dtype), padding=1) + 0.1 * wave


class Oracle(nn.Module):
    """The exact eps_theta where all healthy latents are one known `z` (1, C, h, w)."""

    def __init__(self, z: Tensor, steps: int = 1000) -> None:
        super().__init__()
        self.schedule = Schedule.scaled_linear(steps, 0.0015, 0.0195)
        self.z = z

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = self.schedule.at(self.schedule.alpha_bar, t, x_t)
        return (x_t - alpha_bar.sqrt() * self.z) / (1 - alpha_bar).sqrt()
