"""Small images: a smooth head on a dark background, and a bright disc as its lesion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.splits import Split, content_hash

_BACKGROUND, _HEAD, _LESION = 0.05, 0.45, 0.95


def toy_split(n: int, size: int, seed: int, lesions: bool = False) -> Split:
    """Return `n` images (N, 1, size, size): an ellipse with two inner blobs, each a little different.

    With `lesions` every image holds one bright, smooth disc inside the ellipse, and its mask.
    """
    rng = np.random.default_rng(seed)
    healthy = np.stack([_toy_head(size, rng) for _ in range(n)])[:, None]
    images, masks = healthy.copy(), np.zeros(healthy.shape, bool)
    for i in range(n if lesions else 0):
        weight = _toy_blob(size, rng.uniform(-0.3, 0.3, 2), rng.uniform(0.12, 0.2))
        images[i, 0] += weight * (_LESION - images[i, 0])
        masks[i, 0] = weight > 0.5
    return Split(
        images=images,
        subjects=[f"toy-{seed}-{i}" for i in range(n)],
        hashes=[content_hash(image) for image in healthy],
        lesions=masks if lesions else None,
    )


def _toy_head(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    shift, level = rng.uniform(-0.05, 0.05, 2), _HEAD + rng.uniform(-0.05, 0.05)
    image = _BACKGROUND + (level - _BACKGROUND) * _toy_blob(size, shift, 0.75)
    for side in (-0.3, 0.3):
        image = image - 0.2 * _toy_blob(size, np.array([shift[0], shift[1] + side]), rng.uniform(0.12, 0.18))
    return (image + rng.normal(0, 0.01, image.shape)).clip(0, 1).astype(np.float32)


def _toy_blob(size: int, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return (size, size): 1 inside a disc, 0 outside, smooth between; places in units of half the image."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    distance = np.hypot(axis[:, None] - centre[0], axis[None] - centre[1])
    return np.asarray(1 / (1 + np.exp((distance - radius) * size / 2)))
