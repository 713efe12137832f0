"""What a scan is like, as far as it shows: voxel sizes, how large the head is, and whether the skull is there."""

from __future__ import annotations

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.region import Units, region_of

DEPTHS = np.linspace(0, 0.5, 11)
"""Edges of the shells of a slice's region, as fractions of its greatest depth: the skull lies in the outer ones."""
DIP = 0.9
"""The skull is a shell darker than this part of both what lies outside of it and what lies inside."""
SLICES = 8


def traits_of(scan: Scan, units: Units, region: NDArray[np.bool_] | None = None) -> dict[str, float | str]:
    """Return the traits of a scan by name; sizes in mm where they are known, else in pixels.

    Raises DataError where no brain or head is found in it.
    """
    region = region_of(scan, units) if region is None else region
    found: dict[str, float | str] = {"brain mask": "found in the image" if scan.brain is None else "given"}
    found["size of a pixel"] = "not known" if scan.spacing_mm is None else "known"
    if units == "mri":
        found["skull"] = "seen" if shows_skull(scan.image, region) else "not seen"
    if scan.spacing_mm is None:
        return found | {"width in pixels": float(scan.image.shape[0]), "height in pixels": float(scan.image.shape[1])}
    box = ndimage.find_objects(region.view(np.uint8))[0]
    spacing = voxel_sizes(scan.affine)
    sizes = [float((part.stop - part.start) * mm) for part, mm in zip(box, spacing, strict=True)]
    found |= {"pixel in mm": round(float(max(spacing[:2])), 4), "distance of slices in mm": round(float(spacing[2]), 4)}
    names = ("head left to right in mm", "head front to back in mm", "head up and down in mm")
    return found | dict(zip(names, sizes, strict=True))


def shows_skull(image: NDArray[np.float32], region: NDArray[np.bool_]) -> bool:
    """Whether the slices in the upper half of the head have a dark shell between a brighter one and the inside."""
    area = region.sum(axis=(0, 1))
    large = np.flatnonzero(area > area.max() / 2)
    upper = large[len(large) // 2 :]
    chosen = upper[:: max(1, len(upper) // SLICES)]
    return bool(np.mean([_has_dip(image[..., z], region[..., z]) for z in chosen]) > 0.5)


def _has_dip(image: NDArray[np.float32], region: NDArray[np.bool_]) -> bool:
    depth = ndimage.distance_transform_edt(region)
    depth /= depth.max()
    shell = np.digitize(depth, DEPTHS)[region]
    values = image[region]
    means = np.array([values[shell == i].mean() for i in range(1, len(DEPTHS)) if (shell == i).any()])
    if len(means) < len(DEPTHS) // 2:  # too few pixels to tell shells apart
        return False
    inner = means[len(means) // 2 :].mean()
    least = int(means[: len(means) // 2].argmin())
    return bool(least > 0 and means[least] < DIP * min(means[:least].max(), inner))
