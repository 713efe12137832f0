"""Noise fields of unit variance: white, simplex octaves (Wyatt et al. 2022), a pyramid (Frotscher et al. 2023).

    simplex : sum_k persistence^k s(p 2^k / (2 wavelength)),  k = 0..octaves - 1             s: simplex noise
    s(p)    = sum over the three corners c of p's triangle of (1/2 - |p - c|^2)_+^4 (g_c . (p - c) or v_c)
    pyramid : white noise + sum_i discount^i (white noise on a grid coarser and coarser, bilinear between)

Unit gradients g_c are drawn at every corner of the triangular lattice (Perlin 2001), for every field and octave by
themselves, and the lattice lies anywhere: no table of permutations, and no two fields alike. Implementations of
OpenSimplex noise, which the papers take, have a wider lattice and kernel: hence 2 wavelength. A slice of their noise in
three dimensions also has what gradients along the third give, a value v_c ~ N(0, 1) at a corner, whatever the place:
by symmetry a third of the variance. The power of the papers' octaves in bands of frequency is 0.86 to 1.01 of that of
these, but for the mean level of a field in the plane, where theirs is about twice as strong.
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
VALUE_SPREAD = 0.0343640
"""The same of values: of sum_c (1/2 - r^2)_+^8."""
OPEN_SIMPLEX = 2.0
"""Side of our lattice over the wavelength that OpenSimplex noise is asked for."""
LEVELS = 10
"""Coarser grids of a pyramid, at most."""


def white(n: int, size: Size, generator: torch.Generator) -> Tensor:
    """Return (n, 1, H, W) of independent N(0, 1)."""
    return torch.randn(n, 1, *size, generator=generator)


def simplex_octaves(
    n: int, size: Size, octaves: int, persistence: float, wavelength_px: float, dimensions: int,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """Return (n, 1, H, W): octave k has wavelength `wavelength_px` / 2^k and amplitude persistence^k.

    In three `dimensions` it is like a slice of such noise.
    """
    total, share = torch.zeros(n, 1, *size), (dimensions - 2) / dimensions
    for k in range(octaves):
        total += persistence**k * simplex(n, size, OPEN_SIMPLEX * wavelength_px / 2**k, generator, share)
    return total / math.sqrt(sum(persistence ** (2 * k) for k in range(octaves)))


def simplex(n: int, size: Size, side_px: float, generator: torch.Generator, value_share: float = 0.0) -> Tensor:
    """Return simplex noise (n, 1, H, W) on a lattice of squares of `side_px` before they are skewed.

    `value_share` of the variance come from values at the corners, the others from gradients.
    """
    offset = torch.rand(2, n, 1, 1, generator=generator)
    y = offset[0] + torch.arange(size[0])[:, None] / side_px
    x = offset[1] + torch.arange(size[1])[None, :] / side_px
    skew = (x + y) * SKEW
    row, column = (y + skew).floor(), (x + skew).floor()
    back = (row + column) * UNSKEW
    y, x = y - (row - back), x - (column - back)
    lower = y > x  # which of the two triangles of the square
    row, column = row.long(), column.long()
    corners = (n, int(row.max()) + 2, int(column.max()) + 2)
    angles = 2 * torch.pi * torch.rand(corners, generator=generator)
    values = torch.randn(corners, generator=generator) * math.sqrt(value_share) / VALUE_SPREAD
    slope = math.sqrt(1 - value_share) / SPREAD
    field = torch.arange(n)[:, None, None]
    total = torch.zeros(n, *size)
    for down, right in ((torch.tensor(0), torch.tensor(0)), (lower, ~lower), (torch.tensor(1), torch.tensor(1))):
        down, right = down.long(), right.long()
        corner = (down + right) * UNSKEW
        dy, dx = y - down + corner, x - right + corner
        at = (field, row + down, column + right)
        near = (0.5 - dy.square() - dx.square()).clamp(min=0) ** 4
        total += near * (slope * (angles[at].sin() * dy + angles[at].cos() * dx) + values[at])
    return total[:, None]


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
