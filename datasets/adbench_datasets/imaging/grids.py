"""Where voxels lie: canonical orientation and back, and whether two images share a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan

MAX_SHIFT_VOXELS = 0.25
"""Two grids are one where no voxel is further off than this, in units of the smallest voxel size. Mistaking the corners
of voxels for their centres would give 0.5 along each axis."""
SIZE_TOLERANCE = 1e-3
"""And where voxel sizes differ by at most this fraction."""

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Stored:
    """An image as it lies in its file, made three-dimensional."""

    name: str
    values: NDArray[np.float32]
    """(X, Y, Z) in the order of the file."""
    affine: NDArray[np.float64]
    """(4, 4): index -> mm."""
    shape: tuple[int, ...]
    """As the file says it: perhaps without a third axis, or with a fourth of length one."""
    placed: bool = True
    """Whether the file says where its voxels lie; a picture does not, nor a NIfTI file without sform and qform."""
    notes: tuple[str, ...] = ()
    """What a user should know about it."""

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """(4, 4): index of the canonical array -> mm."""
        return np.asarray(self.affine @ inv_ornt_aff(io_orientation(self.affine), self.values.shape))

    def __str__(self) -> str:
        sizes = " x ".join(f"{size:.4g}" for size in voxel_sizes(self.affine))
        corner = ", ".join(f"{c:.2f}" for c in self.affine[:3, 3])
        axes = "".join(nib.aff2axcodes(self.affine))
        return f"{self.values.shape} {axes} with voxels of {sizes} mm from ({corner}) mm RAS+"


def to_canonical(values: NDArray[T], affine: NDArray[np.float64]) -> NDArray[T]:
    """Return a view with axes swapped and flipped to the nearest of right, front and up."""
    return np.asarray(apply_orientation(values, io_orientation(affine)))


def to_source(canonical: NDArray[Any], scan: Scan) -> nib.Nifti1Image:
    """Return an array on the scan's canonical grid, (X, Y, Z), as an image on the grid of the scan's own file.

    The exact inverse of reading; bool becomes uint8, which NIfTI can hold. Raises DataError for another shape.
    """
    if canonical.shape != scan.image.shape:
        raise DataError(
            f"An array on the grid of {scan.source} has shape {scan.image.shape}, not {canonical.shape}. "
            "Bring it to the canonical grid of the scan first."
        )
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(scan.source_affine))
    values = apply_orientation(canonical.astype(np.uint8) if canonical.dtype == bool else canonical, back)
    return nib.Nifti1Image(values.reshape(scan.source_shape), scan.source_affine, dtype=values.dtype)


def place_on(image: Stored, mask: Stored) -> tuple[NDArray[np.float32], bool] | None:
    """Return the mask in the canonical orientation of the image, and whether it was brought there from another grid.

    The grids agree voxel by voxel as stored, or after each is brought into canonical orientation. A mask of another
    shape is brought to the image by the affines where both files state one. None where none of this is so: a mask of
    the same shape that lies elsewhere is of another scan, or one of the headers is wrong.
    """
    shape = image.values.shape
    if mask.values.shape == shape and _agree(mask.affine, image.affine, shape):
        return to_canonical(mask.values, image.affine), False
    turned, wanted = to_canonical(mask.values, mask.affine), to_canonical(image.values, image.affine).shape
    if turned.shape == wanted:
        return (turned, False) if _agree(mask.canonical_affine, image.canonical_affine, wanted) else None
    if not (image.placed and mask.placed):
        return None
    brought = _sampled(mask, image)
    return None if brought is None else (to_canonical(brought, image.affine), True)


def _sampled(mask: Stored, image: Stored) -> NDArray[np.float32] | None:
    """The mask at the centres of the image's voxels (nearest neighbour), 0 beyond it.

    None where that would lose a part of it: a mask that sticks out of the image, or of which nothing is left.
    """
    marked = np.argwhere(mask.values != 0)
    if len(marked):
        inside = apply_affine(np.linalg.inv(image.affine) @ mask.affine, marked)
        beyond = 0.5 + MAX_SHIFT_VOXELS
        if not ((inside > -beyond) & (inside < np.array(image.values.shape) - 1 + beyond)).all():
            return None
    to_mask = np.linalg.inv(mask.affine) @ image.affine
    placed = affine_transform(mask.values, to_mask, output_shape=image.values.shape, order=0, mode="constant")
    return None if len(marked) and not placed.any() else np.asarray(placed, np.float32)


def far_apart(a: NDArray[np.float64], b: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """How far two affines place the same voxel of a grid apart at most, in mm; a corner is furthest off."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape]), axis=-1).reshape(-1, 3)
    return float(np.linalg.norm(apply_affine(a, corners) - apply_affine(b, corners), axis=1).max())


def _agree(a: NDArray[np.float64], b: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether two affines put every voxel of a grid in the same place."""
    same_sizes = np.allclose(voxel_sizes(a), voxel_sizes(b), rtol=SIZE_TOLERANCE, atol=0)
    return bool(same_sizes and far_apart(a, b, shape) <= MAX_SHIFT_VOXELS * voxel_sizes(b).min())
