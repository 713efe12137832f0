"""Sprites: binary shapes as in dSprites (square, ellipse, heart), drawn onto an image as a synthetic anomaly.

Matthey et al. 2017, "dSprites: Disentanglement testing Sprites dataset": three shapes, six scales, any rotation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHAPES = ("square", "ellipse", "heart")
SIDES_PX = tuple(np.linspace(10.0, 24.0, 6))
"""Side of the square around a sprite at 64 x 64, one for each of the six scales; other sizes scale along."""


def sprite(
    shape: str, side_px: float, angle: float, centre: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return (H, W) bool: a shape whose bounding square has `side_px`, turned by `angle` (radians) about `centre`.

    `centre` is (row, column) in pixels. Raises ValueError for an unknown shape.
    """
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    dy, dx = rows - centre[0], columns - centre[1]
    u = (np.cos(angle) * dx + np.sin(angle) * dy) / (side_px / 2)
    v = (-np.sin(angle) * dx + np.cos(angle) * dy) / (side_px / 2)
    if shape == "square":
        return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= 1)
    if shape == "ellipse":
        return np.asarray(u**2 + (v / 0.6) ** 2 <= 1)
    if shape == "heart":
        x, y = 1.2 * u, 1.2 * (0.1 - v)  # the curve (x^2 + y^2 - 1)^3 = x^2 y^3 reaches 1.2 at its widest
        return np.asarray((x**2 + y**2 - 1) ** 3 - x**2 * y**3 <= 0)
    raise ValueError(f"Shape must be one of {', '.join(SHAPES)}, got {shape!r}.")


def draw_sprite(
    head: NDArray[np.bool_], rng: np.random.Generator, min_overlap: float, tries: int = 200
) -> NDArray[np.bool_] | None:
    """Return a random sprite (H, W) of which at least `min_overlap` lies on the head, or None if none was found."""
    rows, columns = np.nonzero(head)
    if len(rows) == 0:
        return None
    scale = head.shape[0] / 64
    for _ in range(tries):
        shape = SHAPES[rng.integers(len(SHAPES))]
        side_px = SIDES_PX[rng.integers(len(SIDES_PX))] * scale
        angle = rng.uniform(0, 2 * np.pi)
        at = rng.integers(len(rows))
        mask = sprite(shape, side_px, angle, (rows[at], columns[at]), head.shape)
        if (mask & head).sum() >= min_overlap * mask.sum():
            return mask
    return None
