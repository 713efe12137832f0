"""Noise fields of unit variance: white, simplex octaves (Wyatt et al. 2022), a pyramid (Frotscher et al. 2023).

    simplex : sum_k persistence^k s(p 2^k / wavelength),  k = 0..octaves - 1          s: simplex noise in two dimensions
    s(p)    = sum over the three corners c of p's triangle of (1/2 - |p - c|^2)_+^4 g_c . (p - c),  g_c: unit gradients
    pyramid : white noise + sum_i discount^i (white noise on a grid coarser and coarser, bilinear between)

Gradients are drawn at every corner of the triangular lattice (Perlin 2001), for every field and octave by themselves,
and the lattice lies anywhere: no table of permutations, and no two fields alike.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.training.part import Size

SKEW, UNSKEW = (math.sqrt(3) - 1) / 2, (3 - math.sqrt(3)) / 6
SPREAD = 0.0054334
"""Standard deviation of s over the plane: the mean of sum_c (1/2 - r^2)_+^8 r^2 / 2, by quadrature over a triangle."""
LEVELS = 10
"""Coarser grids of a pyramid, at most."""


def white(n: int, size: Size, generator: torch.Generator) -> Tensor:
    """Return (n, 1, H, W) of independent N(0, 1)."""
    return torch.randn(n, 1, *size, generator=generator)


def simplex_octaves(
    n: int, size: Size, octaves: int, persistence: float, wavelength_px: float, generator: torch.Generator
) -> Tensor:
    """Return (n, 1, H, W): octave k has wavelength `wavelength_px` / 2^k and amplitude persistence^k."""
    total = torch.zeros(n, 1, *size)
    for k in range(octaves):
        total += persistence**k * simplex(n, size, wavelength_px / 2**k, generator)
    return total / math.sqrt(sum(persistence ** (2 * k) for k in range(octaves)))


def simplex(n: int, size: Size, wavelength_px: float, generator: torch.Generator) -> Tensor:
    """Return simplex noise (n, 1, H, W) of one wavelength, the side of the lattice's squares before they are skewed."""
    offset = torch.rand(2, n, 1, 1, generator=generator)
    y = offset[0] + torch.arange(size[0])[:, None] / wavelength_px
    x = offset[1] + torch.arange(size[1])[None, :] / wavelength_px
    skew = (x + y) * SKEW
    row, column = (y + skew).floor(), (x + skew).floor()
    back = (row + column) * UNSKEW
    y, x = y - (row - back), x - (column - back)
    lower = y > x  # which of the two triangles of the square
    row, column = row.long(), column.long()
    angles = 2 * torch.pi * torch.rand(n, int(row.max()) + 2, int(column.max()) + 2, generator=generator)
    field = torch.arange(n)[:, None, None]
    total = torch.zeros(n, *size)
    for down, right in ((torch.tensor(0), torch.tensor(0)), (lower, ~lower), (torch.tensor(1), torch.tensor(1))):
        down, right = down.long(), right.long()
        corner = (down + right) * UNSKEW
        dy, dx = y - down + corner, x - right + corner
        angle = angles[field, row + down, column + right]
        near = (0.5 - dy.square() - dx.square()).clamp(min=0)
        total += near**4 * (angle.sin() * dy + angle.cos() * dx)
    return total[:, None] / SPREAD


def pyramid(n: int, size: Size, discount: float, generator: torch.Generator) -> Tensor:
    """Return (n, 1, H, W); each grid is coarser than the one before by r^i, with r in [2, 4) of its own."""
    total, (height, width) = white(n, size, generator), size
    for i in range(LEVELS):
        r = float(2 + 2 * torch.rand((), generator=generator))
        height, width = max(1, int(height / r**i)), max(1, int(width / r**i))
        coarse = white(n, (height, width), generator)
        total += discount**i * F.interpolate(coarse, size, mode="bilinear", align_corners=False)
        if min(height, width) == 1:
            break
    return total / total.std()
