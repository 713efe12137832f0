"""Synthetic lesions on healthy images, of several kinds, so that a detector cannot be fitted to one.

| kind          | what is drawn                                                       | after                      |
|---------------|---------------------------------------------------------------------|----------------------------|
| `shape`       | a uniform value with sharp edges, brighter or darker than the place | sprites (Pinaya 2022)      |
| `blob`        | a smooth bump added or taken away, half as high at its edge         | additive lesions           |
| `texture`     | noise about the local mean                                          |                            |
| `patch`       | another subject's tissue from another place, blended in             | FPI (Tan et al. 2020)      |
| `deformation` | tissue drawn towards a centre, or pushed away from it               | Baugh et al. 2023          |

Outlines are superellipses |u / a|^p + |v / b|^p <= 1: diamonds, ellipses and near-rectangles at any angle. Their area
is a fraction of the head's, even by its logarithm; the centre lies on the head. A lesion that would hardly change the
image is drawn again elsewhere, since nothing could find it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

VERSION = 1
"""Raise it when the same seed would draw other lesions."""
KINDS = ("shape", "blob", "texture", "patch", "deformation")
ABOVE_BACKGROUND = 0.06
LEAST_HEAD = 0.05
"""A slice whose head takes less of the image is not drawn on."""
LEAST_PX = 4
LEAST_CHANGE = 0.08
"""Mean |change| over a lesion, in units of the grey range."""
TRIES = 20

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LesionGenerator:
    """Which lesions are drawn; part of a study's identity and of the records of tuned runs."""

    seed: int = 0
    kinds: tuple[str, ...] = KINDS
    smallest: float = 0.003
    largest: float = 0.08
    """Area as a fraction of the head's."""

    def record(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self), "kinds": list(self.kinds)}

    def draw(self, kind: str, number: int, image: Pixels, head: Mask, other: Pixels) -> tuple[Pixels, Mask]:
        """Return a changed copy of `image` (H, W) in [0, 1] and the lesion's mask.

        `number` picks the random numbers, `other` (H, W) is another subject's image for `patch`.
        """
        rng = np.random.default_rng([self.seed, KINDS.index(kind), number])
        best: tuple[float, Pixels, Mask] | None = None
        for _ in range(TRIES):
            outline = self._outline(head, rng)
            lesion = (outline.level <= 1) & head
            if np.count_nonzero(lesion) < LEAST_PX:
                continue
            changed = _DRAWN[kind](image, other, outline, lesion, rng).clip(0, 1).astype(np.float32)
            change = float(np.abs(changed - image)[lesion].mean())
            if best is None or change > best[0]:
                best = change, changed, lesion
            if change >= LEAST_CHANGE:
                break
        return (best[1], best[2]) if best else (image.copy(), np.zeros_like(head))

    def _outline(self, head: Mask, rng: np.random.Generator) -> Outline:
        area = np.count_nonzero(head) * math.exp(rng.uniform(math.log(self.smallest), math.log(self.largest)))
        power = float(rng.choice([1.0, 2.0, 8.0]))
        unit = 4 * math.gamma(1 + 1 / power) ** 2 / math.gamma(1 + 2 / power)  # area of the superellipse a = b = 1
        ratio, angle = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
        a = math.sqrt(max(area, LEAST_PX) / unit / ratio)
        row, column = np.argwhere(head)[rng.integers(np.count_nonzero(head))]
        rows, columns = np.indices(head.shape, dtype=np.float64)
        y, x = rows - row, columns - column
        u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        level = np.abs(u / a) ** power + np.abs(v / (a * ratio)) ** power
        return Outline(level, y, x)


@dataclass(frozen=True)
class Outline:
    """A superellipse on a grid: `level` (H, W) is 1 on its edge; y, x (H, W) are distances from its centre in px."""

    level: NDArray[np.float64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]


def find_head(image: Pixels) -> Mask:
    """Return the head (H, W): what differs from the border's grey level, the largest piece, its holes filled."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    labels, n = ndimage.label(np.abs(image - np.median(border)) > ABOVE_BACKGROUND)
    if not n:
        return np.zeros(image.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    filled: Mask = ndimage.binary_fill_holes(labels == largest)
    return filled


def large_enough(head: Mask) -> bool:
    return bool(np.count_nonzero(head) >= LEAST_HEAD * head.size)


Drawn = Callable[[Pixels, Pixels, Outline, Mask, np.random.Generator], NDArray[Any]]


def _away(value: float, rng: np.random.Generator) -> float:
    """A change of 0.15 to 0.6, up or down, down where there is no room above and the other way round."""
    step = rng.uniform(0.15, 0.6)
    up = value + step <= 1 if value < step else value + step <= 1 and rng.random() < 0.5
    return float(step if up else -step)


def _shape(image: Pixels, other: Pixels, outline: Outline, lesion: Mask, rng: np.random.Generator) -> NDArray[Any]:
    mean = float(image[lesion].mean())
    return np.where(lesion, mean + _away(mean, rng), image)


def _blob(image: Pixels, other: Pixels, outline: Outline, lesion: Mask, rng: np.random.Generator) -> NDArray[Any]:
    step = _away(float(image[lesion].mean()), rng)
    return image + step * np.exp2(-outline.level)


def _texture(image: Pixels, other: Pixels, outline: Outline, lesion: Mask, rng: np.random.Generator) -> NDArray[Any]:
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0.0, 1.5))
    return np.where(lesion, image[lesion].mean() + rng.uniform(0.1, 0.3) * noise / noise.std(), image)


def _patch(image: Pixels, other: Pixels, outline: Outline, lesion: Mask, rng: np.random.Generator) -> NDArray[Any]:
    reach = [side // 4 for side in image.shape]
    shift = [int(rng.integers(-r, r + 1)) for r in reach]
    foreign = ndimage.shift(other, shift, order=0, mode="nearest")
    weight = rng.uniform(0.5, 1) * lesion
    return (1 - weight) * image + weight * foreign


def _deformation(
    image: Pixels, other: Pixels, outline: Outline, lesion: Mask, rng: np.random.Generator
) -> NDArray[Any]:
    """Look up each pixel at level^k of its distance from the centre: k > 0 magnifies the middle, k < 0 shrinks it."""
    k = rng.uniform(0.6, 1.5) if rng.random() < 0.5 else rng.uniform(-0.45, -0.3)
    inside = outline.level.clip(1e-6, 1) ** k
    rows, columns = np.indices(image.shape, dtype=np.float64)
    at = [rows + (inside - 1) * outline.y, columns + (inside - 1) * outline.x]
    return np.where(lesion, ndimage.map_coordinates(image, at, order=1, mode="nearest"), image)


_DRAWN: dict[str, Drawn] = {
    "shape": _shape,
    "blob": _blob,
    "texture": _texture,
    "patch": _patch,
    "deformation": _deformation,
}
