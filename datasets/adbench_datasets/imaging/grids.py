"""Where voxels lie: canonical orientation and back, and whether two images share a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, label

from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan

MAX_SHIFT_VOXELS = 0.25
"""Two grids are one where no voxel is further off than this, in units of the smallest voxel size. Mistaking the corners
of voxels for their centres would give 0.5 along each axis."""
SIZE_TOLERANCE = 1e-3
"""And where voxel sizes differ by at most this fraction."""

BROUGHT = "masks have another grid than their images: they are brought there by the affines"
BETWEEN = "parts of such masks lie between the centres of the image's voxels: they mark the voxels that they lie in"
IN_SLICE = np.zeros((3, 3, 3), bool)
"""Neighbours within an axial slice of a canonical volume."""
IN_SLICE[..., 1] = True

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
    lossy: bool = False
    """Whether a picture was stored in a way that changes its values: JPEG, also within TIFF."""

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


def place_on(image: Stored, mask: Stored) -> tuple[NDArray[np.float32], tuple[str, ...]] | None:
    """Return the mask in the canonical orientation of the image, and what is to be said where it had another grid.

    The grids agree voxel by voxel as stored, or after each is brought into canonical orientation. A mask of another
    shape is brought to the image by the affines where both files state one. None where none of this is so: a mask of
    the same shape that lies elsewhere is of another scan, or one of the headers is wrong.
    """
    shape = image.values.shape
    if mask.values.shape == shape and _agree(mask.affine, image.affine, shape):
        return to_canonical(mask.values, image.affine), ()
    turned, wanted = to_canonical(mask.values, mask.affine), to_canonical(image.values, image.affine).shape
    if turned.shape == wanted:
        return (turned, ()) if _agree(mask.canonical_affine, image.canonical_affine, wanted) else None
    touched = _touched(mask, image) if image.placed and mask.placed else None
    if touched is None:
        return None
    to_mask = np.linalg.inv(mask.affine) @ image.affine
    sampled = affine_transform(mask.values, to_mask, output_shape=shape, order=0, mode="grid-constant")
    return _whole(to_canonical(sampled, image.affine), to_canonical(touched, image.affine))


def _touched(mask: Stored, image: Stored) -> NDArray[np.float32] | None:
    """On the grid of the image: the value of a marked voxel of the mask whose centre lies in a voxel, else 0.

    None where a part of the mask sticks out of the image.
    """
    touched = np.zeros_like(image.values)
    to_image, last = np.linalg.inv(image.affine) @ mask.affine, np.array(touched.shape) - 1
    beyond = 0.5 + MAX_SHIFT_VOXELS
    for k in range(mask.values.shape[2]):  # a slice at a time: a mask may be large
        x, y = np.nonzero(mask.values[..., k])
        at = apply_affine(to_image, np.stack([x, y, np.full_like(x, k)], axis=-1))
        if ((at <= -beyond) | (at >= last + beyond)).any():
            return None
        touched[tuple(np.clip(np.rint(at).astype(int), 0, last).T)] = mask.values[x, y, k]
    return touched


def _whole(sampled: NDArray[np.float32], touched: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """A canonical mask sampled at the centres of voxels, with those parts of its slices that lie between them.

    Without them the slices would pass for healthy.
    """
    parts, n = label((sampled != 0) | (touched != 0), IN_SLICE)
    lost = np.ones(n + 1, bool)
    lost[parts[sampled != 0]] = False
    between = lost[parts] & (touched != 0)
    return np.where(between, touched, sampled), (BROUGHT, BETWEEN) if between.any() else (BROUGHT,)


def far_apart(a: NDArray[np.float64], b: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """How far two affines place the same voxel of a grid apart at most, in mm; a corner is furthest off."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape]), axis=-1).reshape(-1, 3)
    return float(np.linalg.norm(apply_affine(a, corners) - apply_affine(b, corners), axis=1).max())


def _agree(a: NDArray[np.float64], b: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether two affines put every voxel of a grid in the same place."""
    same_sizes = np.allclose(voxel_sizes(a), voxel_sizes(b), rtol=SIZE_TOLERANCE, atol=0)
    return bool(same_sizes and far_apart(a, b, shape) <= MAX_SHIFT_VOXELS * voxel_sizes(b).min())
