"""Features of images: what the levels of the VQ-VAE's encoder end with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.devices.device import autocast
from adbench_baselines.networks.vqvae import VQVAE, VQVAEConfig


def encoder_levels(encoder: Any, images: Tensor, config: VQVAEConfig) -> list[Tensor]:
    """Return float32 features of every level, the finest first, each half the side of the one before.

    `encoder` is MONAI's, whose blocks are used one by one; each level has `config.channels` channels, none negative.
    """
    levels, x = [], images
    with autocast(images.device):
        for i, block in enumerate(encoder.blocks[:-1]):  # the last one makes latents of the last level
            x = block(x)
            if (i + 1) % (1 + config.residual_layers) == 0:
                levels.append(x)
    return [level.float() for level in levels]


@torch.no_grad()
def latent_features(compressor: VQVAE, images: Tensor) -> Tensor:
    """Return the features of all levels at the latents' resolution, one over another: (B, C, H / f, W / f) float32."""
    levels = encoder_levels(compressor.encoder, images, compressor.config)
    return torch.cat([F.interpolate(level, levels[-1].shape[-2:], mode="area") for level in levels], 1)


def feature_channels(config: VQVAEConfig) -> int:
    """C."""
    return config.channels * (config.factor.bit_length() - 1)
