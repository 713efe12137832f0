"""KL maps of the diffusion model, batched over images and t together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adbench_baselines.schedule import Variance, kl_term, q_sample
from adbench_baselines.training import stream
from adbench_baselines.unet import LatentModel


def noise_at(name: str, seed: int, t: int, like: Tensor) -> Tensor:
    """Return eps (1, C, h, w) for latents (B, C, h, w): a fresh draw for each name and t, the same for every image."""
    return torch.randn(1, *like.shape[1:], generator=stream(name, seed, t)).to(like.device)


@torch.no_grad()
def kl_map(
    model: LatentModel, z: Tensor, timesteps: Sequence[int], seed: int, variance: Variance, network_batch: int
) -> Tensor:
    """Return v, (B, h, w) float32: L_{t-1} of latents (B, C, h, w) averaged over `timesteps` and channels.

    `network_batch` bounds the latents in one network pass; several t share a pass where the batch is smaller.
    """
    together = max(1, network_batch // len(z))
    total = torch.zeros(len(z), *z.shape[2:], device=z.device)
    for start in range(0, len(timesteps), together):
        chunk = timesteps[start : start + together]
        t = torch.tensor(chunk).repeat_interleave(len(z))
        eps = torch.cat([noise_at("KL map", seed, step, z) for step in chunk]).repeat_interleave(len(z), 0)
        x_t = q_sample(model.schedule, z.repeat(len(chunk), 1, 1, 1), t, eps)
        terms = kl_term(model.schedule, eps, model(x_t, t.to(z.device)), t, variance).mean(1)
        total += terms.unflatten(0, (len(chunk), len(z))).sum(0)
    return total / len(timesteps)
