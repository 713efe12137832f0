"""Eight orders in which the tokens of an h x w grid make a sequence (Pinaya et al. 2021).

Raster order of the grid under four reflections (none, horizontal, vertical, both), each as it is and transposed. An
order is a permutation: place i of the sequence holds the token of raster position `order[i]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

REFLECTIONS: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))
"""Axes that are reversed: columns are axis 1, so that (1,) is the horizontal reflection."""
COUNT = 2 * len(REFLECTIONS)


def ordering(index: int, height: int, width: int) -> Tensor:
    """Return order `index` (0 to 7) as (h * w,) int64; 0 is plain raster, 4 to 7 are 0 to 3 transposed."""
    grid = torch.arange(height * width).reshape(height, width)
    grid = grid.flip(REFLECTIONS[index % len(REFLECTIONS)])
    return (grid.T if index >= len(REFLECTIONS) else grid).flatten()


def arrange(tokens: Tensor, order: Tensor) -> Tensor:
    """Return sequences (B, h * w) of token grids (B, h, w)."""
    return tokens.flatten(1)[:, order.to(tokens.device)]


def restore(sequences: Tensor, order: Tensor, height: int, width: int) -> Tensor:
    """Return grids (B, h, w) of sequences (B, h * w): the inverse of `arrange`."""
    return sequences[:, order.argsort().to(sequences.device)].unflatten(1, (height, width))
