"""Where the pixels of a slice lie in its scan, and maps on slices back to the scan.

Output pixel r lies at source pixel
    centre + (r - (size - 1) / 2) * step,      step = spacing of the output / spacing of the source,
for images (triangle filter of width max(1, step): bilinear, and area-weighted where pixels get larger), labels
(nearest neighbour) and the way back alike, so none is shifted against another. The centre is that of the region's
bounding box, moved by less than a source pixel so that without resampling pixels are copied exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig


class Placement(BaseModel):
    """What is needed to bring maps of the kept slices back to the scan."""

    model_config = ConfigDict(frozen=True)

    source: str
    shape: tuple[int, int, int]
    """Of the canonical volume, (X, Y, Z)."""
    affine: tuple[tuple[float, ...], ...]
    source_shape: tuple[int, ...]
    source_affine: tuple[tuple[float, ...], ...]
    size: int
    step: tuple[float, float]
    """Source pixels per output pixel along rows and columns."""
    centre: tuple[float, float]
    """Row and column of the source slice that the middle of the output shows."""
    z: tuple[int, ...]
    """Canonical index of each kept slice."""

    def positions(self, axis: int) -> NDArray[np.float64]:
        """Source coordinate of each output row (axis 0) or column (axis 1), (size,)."""
        from_middle = np.arange(self.size, dtype=np.float64) - (self.size - 1) / 2
        return np.asarray(self.centre[axis] + from_middle * self.step[axis])


def axial(volume: NDArray[Any], z: int) -> NDArray[Any]:
    """One slice (Y, X) of a canonical volume (X, Y, Z): anterior up, the patient's right on the left."""
    return volume[::-1, ::-1, z].T


def placement_of(scan: Scan, region: NDArray[np.bool_], z: list[int], config: PreprocessingConfig) -> Placement:
    width, height, _ = scan.image.shape
    flat = axial(np.any(region, axis=2, keepdims=True), 0)
    centre = [_middle(np.any(flat, axis=1 - axis)) for axis in (0, 1)]
    if config.spacing_mm == "keep":
        step = (1.0, 1.0)
    elif scan.spacing_mm is not None:
        target = config.fov_mm / config.size if config.spacing_mm == "fit" else config.spacing_mm
        step = (target / scan.spacing_mm[1], target / scan.spacing_mm[0])
    elif config.spacing_mm == "fit":  # nothing can be cropped by mm: show the whole slice
        step = (max(width, height) / config.size,) * 2
        centre = [(height - 1) / 2, (width - 1) / 2]
    else:
        raise DataError(
            f"data.spacing_mm={config.spacing_mm:g} needs the size of the stored pixels, but {scan.source} does not "
            'give it: use "fit" or "keep".'
        )
    middle = (config.size - 1) / 2
    return Placement(
        source=scan.source,
        shape=scan.image.shape,
        affine=scan.affine.tolist(),
        source_shape=scan.source_shape,
        source_affine=scan.source_affine.tolist(),
        size=config.size,
        step=step,
        centre=(float(np.floor(centre[0] - middle) + middle), float(np.floor(centre[1] - middle) + middle)),
        z=tuple(z),
    )


def _middle(occupied: NDArray[np.bool_]) -> float:
    at = np.flatnonzero(occupied)
    return float(at[0] + at[-1]) / 2


def triangle(positions: NDArray[np.float64], n: int, step: float) -> NDArray[np.float32]:
    """Weights (len(positions), n) of source pixels 0..n-1; beyond them lies 0, so a row there sums to less than 1."""
    width = max(1.0, step)
    reach = int(np.ceil(width)) + 1
    around = np.floor(positions)[:, None] + np.arange(-reach, reach + 1)
    total = np.maximum(0, 1 - np.abs(around - positions[:, None]) / width).sum(axis=1, keepdims=True)
    near = np.maximum(0, 1 - np.abs(np.arange(n) - positions[:, None]) / width)
    return np.asarray(near / total, np.float32)


def nearest(mask: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """A source slice (H, W) at the placement's pixels, (size, size); 0 beyond it."""
    index = [np.rint(placement.positions(axis)).astype(int) for axis in (0, 1)]
    inside = [(at >= 0) & (at < n) for at, n in zip(index, mask.shape, strict=True)]
    taken = mask[np.ix_(*(np.where(ok, at, 0) for at, ok in zip(index, inside, strict=True)))]
    return np.where(np.logical_and.outer(*inside), taken, np.zeros((), mask.dtype))


def restore(maps: NDArray[np.float32], placement: Placement, z: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Bring maps (n, 1, size, size) of slices back: (X, Y, Z) float32 on the canonical grid, `placement.affine`.

    `z` are the slices' canonical indices; None: all that were kept. Other slices, and what lies beyond the square,
    are 0.
    """
    z = placement.z if z is None else z
    if maps.shape != (len(z), 1, placement.size, placement.size):
        raise DataError(
            f"{placement.source} has {len(z)} slices of {placement.size} x {placement.size}, so maps must be "
            f"({len(z)}, 1, {placement.size}, {placement.size}), got {maps.shape}."
        )
    volume = np.zeros(placement.shape, np.float32)
    rows, columns = (back_weights(placement, axis) for axis in (0, 1))
    for i, k in enumerate(z):
        axial(volume, k)[...] = rows @ maps[i, 0] @ columns.T
    return volume


def back_weights(placement: Placement, axis: int) -> NDArray[np.float32]:
    """Weights (n, size) of the output's rows (axis 0) or columns (1) at those of the source."""
    at = np.arange(placement.shape[1 - axis], dtype=np.float64)
    positions = (at - placement.centre[axis]) / placement.step[axis] + (placement.size - 1) / 2
    return triangle(np.asarray(positions), placement.size, 1 / placement.step[axis])


def as_stored(volume: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """Turn a canonical volume's axes to those of the file, whose affine is `placement.source_affine`."""
    stored, canonical = (nib.io_orientation(np.array(affine)) for affine in (placement.source_affine, placement.affine))
    turned = nib.apply_orientation(volume, nib.orientations.ornt_transform(canonical, stored))
    return np.asarray(turned)
