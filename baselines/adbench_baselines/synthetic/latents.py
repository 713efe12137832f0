"""Corruption of healthy latents: shapes filled with latents of other images, or with noise (Beizaee et al. 2025).

| code       | REFLECT                                                |
|------------|--------------------------------------------------------|
| `strength` | mask, 0 outside the shapes                             |
| `filling`  | replacement                                            |
"""

from __future__ import annotations

import torch
from torch import Tensor

from adbench_baselines.synthetic.patches import foreign, shapes, shifted, uniform

EDGE_PX = 0.25
"""Softness of a shape before it is cut at one half, in latent pixels."""
FURTHEST = 0.5
"""That a foreign image's latents are rolled by, at most, over their side."""


def corrupted(
    z: Tensor, most: int, healthy: float, radii: tuple[float, float], strengths: tuple[float, float],
    foreign_share: float, generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Return sqrt(1 - m) z + sqrt(m) r of standardised latents (B, C, h, w); m is 0 outside the shapes.

    k of 1 to `most` shapes with a probability as 1 / k, and none with the probability `healthy`; each shape has a
    strength m and a filling r of its own, and lies under those before it.
    """
    n, _, height, width = z.shape
    count = torch.multinomial(1 / torch.arange(1, most + 1), n, replacement=True, generator=generator) + 1
    count = torch.where(torch.rand(n, generator=generator) < healthy, 0, count)
    strength, filling = torch.zeros(n, 1, height, width), torch.zeros_like(z)
    for k in range(most):
        inside = shapes(n, (height, width), *radii, EDGE_PX, generator) > 0.5
        new = inside & (strength == 0) & (count > k)[:, None, None, None]
        strength = torch.where(new, uniform(n, *strengths, generator), strength)
        filling = torch.where(new.to(z.device), fillings(z, foreign_share, generator), filling)
    m = strength.to(z.device)
    return (1 - m).sqrt() * z + m.sqrt() * filling


def fillings(z: Tensor, foreign_share: float, generator: torch.Generator) -> Tensor:
    """Return r like z: latents of another image, rolled, or sqrt(a) c + sqrt(1 - a) white noise, a ~ U(0, 1).

    c ~ N(0, 1) is one value a channel.
    """
    n, channels = z.shape[:2]
    a = uniform(n, 0, 1, generator)
    level = torch.randn(n, channels, 1, 1, generator=generator)
    noise = a.sqrt() * level + (1 - a).sqrt() * torch.randn(z.shape, generator=generator)
    other = shifted(foreign(z), FURTHEST, generator)
    return torch.where(uniform(n, 0, 1, generator).to(z.device) < foreign_share, other, noise.to(z.device))
