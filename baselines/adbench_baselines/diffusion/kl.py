"""KL maps of the diffusion model, batched over images and t together, and kept by t while settings are searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adbench.storage.kept import Kept
from adbench.training.streams import stream
from adbench_baselines.diffusion.schedule import Schedule, Variance, kl_term, q_sample

TERMS_VERSION = 1
"""Raise it when the same networks would give other terms: those that are kept are of this version."""


class NoiseModel(Protocol):
    """eps_theta(x_t, t) of latents, or of images in [-1, 1], (B, C, h, w) and steps (B,)."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Tensor: ...


def noise_at(name: str, seed: int, t: int, like: Tensor) -> Tensor:
    """Return eps (1, C, h, w) for latents (B, C, h, w): a fresh draw for each name and t, the same for every image."""
    return torch.randn(1, *like.shape[1:], generator=stream(name, seed, t)).to(like.device)


@torch.no_grad()
def kl_terms(
    model: NoiseModel, z: Tensor, timesteps: Sequence[int], seed: int, variance: Variance, network_batch: int
) -> Iterator[Tensor]:
    """Yield L_{t-1} of latents (B, C, h, w) averaged over channels, (n, B, h, w) float32: n values of t at a time.

    `network_batch` bounds the latents in one network pass; several t share a pass where the batch is smaller.
    """
    together = max(1, network_batch // len(z))
    for start in range(0, len(timesteps), together):
        chunk = timesteps[start : start + together]
        t = torch.tensor(chunk).repeat_interleave(len(z))
        eps = torch.cat([noise_at("KL map", seed, step, z) for step in chunk]).repeat_interleave(len(z), 0)
        x_t = q_sample(model.schedule, z.repeat(len(chunk), 1, 1, 1), t, eps)
        terms = kl_term(model.schedule, eps, model(x_t, t.to(z.device)), t, variance).mean(1)
        yield terms.unflatten(0, (len(chunk), len(z)))


def kl_map(
    model: NoiseModel, z: Tensor, timesteps: Sequence[int], seed: int, variance: Variance, network_batch: int
) -> Tensor:
    """Return v, (B, h, w) float32: L_{t-1} of latents (B, C, h, w) averaged over `timesteps` and channels."""
    total = torch.zeros(len(z), *z.shape[2:], device=z.device)
    for terms in kl_terms(model, z, timesteps, seed, variance, network_batch):
        total += terms.sum(0)
    return total / len(timesteps)


def kept_kl_map(
    kept: Kept,
    key: Sequence[object],
    model: NoiseModel,
    z: Tensor,
    timesteps: Sequence[int],
    seed: int,
    variance: Variance,
    network_batch: int,
) -> Tensor:
    """`kl_map` from kept terms: those of any t that is asked for the first time are computed and kept.

    `key` names the networks and the device; the latents, seed and variance are added here.
    """

    def make(missing: list[int]) -> NDArray[np.float32]:
        batches = [terms.cpu() for terms in kl_terms(model, z, missing, seed, variance, network_batch)]
        return torch.cat(batches).numpy()

    shape = (model.schedule.steps + 1, len(z), *z.shape[2:])
    planes = kept.planes(["KL terms", TERMS_VERSION, *key, z, seed, variance], timesteps, shape, make)
    total = np.zeros(shape[1:], np.float32)
    for t in timesteps:
        total += planes[t]
    return torch.from_numpy(total / np.float32(len(timesteps))).to(z.device)
