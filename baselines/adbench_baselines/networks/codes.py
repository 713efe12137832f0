"""Healthy images as codebook indices, which the models of latents are trained on.

Each image is encoded once as it is and some times slightly moved, and kept as two bytes a position, so that a training
step costs the model of the latents alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adbench.contracts.detector import Images, Runtime
from adbench.devices.device import autocast
from adbench.training.streams import stream
from adbench_baselines.images.augmentation import augment
from adbench_baselines.networks.vqvae import VQVAE


def draw_codes(codes: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return `n` random images' indices (n, h, w), of any copy, from (copies, N, h, w)."""
    copies = torch.randint(len(codes), (n,), generator=generator)
    chosen = torch.randint(codes.shape[1], (n,), generator=generator)
    return codes[copies, chosen]


@torch.no_grad()
def encode_copies(vqvae: VQVAE, healthy: Images, copies: int, runtime: Runtime) -> Tensor:
    """Return (1 + copies, N, h, w) int16 codebook indices; copy 0 is of the images as they are."""
    batches = healthy.batches(256)
    stacks = []
    for copy in range(1 + copies):
        encoded = []
        for i, images in enumerate(batches):
            if copy:
                images = augment(images, 1.0, stream("encoding", runtime.seed, copy * len(batches) + i))
            with autocast(runtime.device):
                z_e = vqvae.encoder(images.to(runtime.device))
            encoded.append(vqvae.quantiser.indices(z_e).to(torch.int16).cpu())
            runtime.progress("encoding", copy * len(batches) + i + 1, (1 + copies) * len(batches))
        stacks.append(torch.cat(encoded))
    return torch.stack(stacks)
