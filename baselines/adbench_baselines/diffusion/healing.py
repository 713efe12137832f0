"""Healing: the reverse process from an intermediate step, on masked latents, with the rest as context.

The paper pastes the clean z_0 outside the mask at every step (`context="clean"`); RePaint (Lugmayr et al. 2022) pastes
z_0 noised to the present level (`"noised"`). What stands inside the mask at the first step is not said: q(z_t | z_0)
(`start="noised"`) still holds a trace of the anomaly, pure noise (`"noise"`) does not, nor does the healthy mean of the
position, noised (`"mean"`). RePaint's resampling takes each step `resamplings` times, noising the result again in
between, so that the inside comes to fit the context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from adbench_baselines.diffusion.kl import noise_at
from adbench_baselines.diffusion.schedule import Variance, ddim_step, ddpm_step, descent, q_forward, q_sample
from adbench_baselines.diffusion.unet import LatentModel

Context = Literal["clean", "noised"]
Start = Literal["noised", "noise", "mean"]


@dataclass(frozen=True)
class HealingOptions:
    start_t: int
    steps: int
    sampler: Literal["ddpm", "ddim"]
    context: Context
    start: Start
    variance: Variance
    resamplings: int = 1
    """How often each step is taken."""

    @property
    def path(self) -> list[tuple[int, int]]:
        """Pairs (t, s) from `start_t` to 0; DDPM takes every step."""
        return descent(self.start_t, self._taken)

    @property
    def passes(self) -> int:
        return self._taken * self.resamplings

    @property
    def _taken(self) -> int:
        return self.start_t if self.sampler == "ddpm" else min(self.steps, self.start_t)


@torch.no_grad()
def heal(
    model: LatentModel,
    z_0: Tensor,
    mask: Tensor,
    options: HealingOptions,
    seed: int,
    draw: int = 0,
    mean: Tensor | None = None,
) -> Tensor:
    """Return latents (B, C, h, w) in which the positions of `mask` (B, 1, h, w) are sampled anew.

    `draw` numbers the noise: another number gives another sample. `mean`, (1, C, h, w), is that of healthy latents,
    given where, and only where, `start="mean"`.
    """
    assert (mean is not None) == (options.start == "mean")
    schedule = model.schedule
    z = noise_at(f"start {draw}", seed, options.start_t, z_0).expand_as(z_0)
    if options.start != "noise":
        z = q_sample(schedule, z_0 if mean is None else mean.expand_as(z_0), options.start_t, z)
    for t, s in options.path:
        for again in range(options.resamplings):
            if again:
                z = q_forward(schedule, z, s, t, noise_at(f"again {draw} {again}", seed, t, z_0))
            z_t = torch.where(mask, z, _context(model, z_0, t, options.context, seed, draw))
            eps_theta = model(z_t, torch.full((len(z_t),), t, device=z_t.device))
            if options.sampler == "ddim":
                z = ddim_step(schedule, z_t, t, s, eps_theta)
            else:
                name = f"step {draw} {again}" if again else f"step {draw}"
                z = ddpm_step(schedule, z_t, t, eps_theta, noise_at(name, seed, t, z_0), options.variance)
    return torch.where(mask, z, z_0)


def _context(model: LatentModel, z_0: Tensor, t: int, context: Context, seed: int, draw: int) -> Tensor:
    if context == "clean":
        return z_0
    return q_sample(model.schedule, z_0, t, noise_at(f"context {draw}", seed, t, z_0))
