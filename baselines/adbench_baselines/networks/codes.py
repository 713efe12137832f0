"""Healthy images as latents, which the models of latents are trained on: codebook indices, or before quantisation.

Each image is encoded once as it is and some times slightly moved, so that a training step costs the model of the
latents alone. Indices take two bytes a position.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from adbench.contracts.detector import Images, Runtime
from adbench.training.streams import stream
from adbench_baselines.images.augmentation import augment
from adbench_baselines.networks.vqvae import VQVAE


def draw_copies(latents: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return `n` random images' latents or indices (n, ...), of any copy, from (copies, N, ...)."""
    copies = torch.randint(len(latents), (n,), generator=generator)
    chosen = torch.randint(latents.shape[1], (n,), generator=generator)
    return latents[copies, chosen]


def encode_copies(vqvae: VQVAE, healthy: Images, copies: int, runtime: Runtime) -> Tensor:
    """Return (1 + copies, N, h, w) int16 codebook indices; copy 0 is of the images as they are."""
    return _copies(vqvae, healthy, copies, runtime, lambda z_e: vqvae.quantiser.indices(z_e).to(torch.int16))


def encode_copies_unquantised(vqvae: VQVAE, healthy: Images, copies: int, runtime: Runtime) -> Tensor:
    """Return (1 + copies, N, n_z, h, w) float32 latents before quantisation; copy 0 is of the images as they are."""
    return _copies(vqvae, healthy, copies, runtime, lambda z_e: z_e.float())


@torch.no_grad()
def _copies(vqvae: VQVAE, healthy: Images, copies: int, runtime: Runtime, kept: Callable[[Tensor], Tensor]) -> Tensor:
    batches = healthy.batches(256)
    stacks = []
    for copy in range(1 + copies):
        encoded = []
        for i, images in enumerate(batches):
            if copy:
                images = augment(images, 1.0, stream("encoding", runtime.seed, copy * len(batches) + i))
            encoded.append(kept(vqvae.encode_unquantised(images.to(runtime.device))).cpu())
            runtime.progress("encoding", copy * len(batches) + i + 1, (1 + copies) * len(batches))
        stacks.append(torch.cat(encoded))
    return torch.stack(stacks)
